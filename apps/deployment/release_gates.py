"""Release gates: on each active evaluation set, a new version must not be worse than the version in service.

Only the evaluations are stored. A gate is computed from them each time, so another version in service or another
`GATE_DELTA` takes effect at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import models

from apps.core.work_queue import OPEN_STATES
from apps.deployment.floor import FEWEST_OF_EACH, has_enough_films
from apps.deployment.models import Deployment
from apps.evaluation.models import EvaluationJob, EvaluationSet
from apps.evaluation.selectors import latest_evaluation
from apps.registry import engine
from apps.registry.models import ModelVersion


class ReleaseGateState(models.TextChoices):
    WAITING = "waiting", "Waits for evaluations"
    PASSED = "passed", "Passed"
    FAILED = "failed", "Failed"
    NOT_COMPARABLE = "not-comparable", "Not comparable"


@dataclass(frozen=True)
class ReleaseGate:
    """A version compared with the platform's version on one set; the difference is of mean AUROC."""

    evaluation_set: EvaluationSet
    state: ReleaseGateState
    reason: str
    serving: ModelVersion | None = None
    difference: float | None = None
    ci95: tuple[float, float] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The gate as the ledger keeps it."""
        return {
            "set": str(self.evaluation_set),
            "serving": str(self.serving),
            "difference": self.difference,
            "ci95": self.ci95,
            "reason": self.reason,
        }


def platform_version() -> ModelVersion | None:
    """The version in service for every tenant that is not pinned; None before the first activation."""
    deployment = Deployment.objects.select_related("model_version").filter(for_tenant=None).first()
    return deployment.model_version if deployment else None


def release_gates_of(version: ModelVersion) -> list[ReleaseGate]:
    """The version's release gate on each active set; none where it is the platform's version itself."""
    sets = list(EvaluationSet.objects.filter(is_active=True))
    serving = platform_version() if sets else None
    return [] if serving == version else [_gate(each, version, serving) for each in sets]


def failed_gates(gates: Sequence[ReleaseGate]) -> list[ReleaseGate]:
    return [gate for gate in gates if gate.state == ReleaseGateState.FAILED]


def blocking_gates(gates: Sequence[ReleaseGate]) -> list[ReleaseGate]:
    """The gates that were not passed: they failed, wait or are not comparable. None where no version serves yet."""
    return [gate for gate in gates if gate.state != ReleaseGateState.PASSED and gate.serving is not None]


def may_be_released(gates: Sequence[ReleaseGate]) -> bool:
    """Whether no gate blocks the version, and no evaluation is still open."""
    return not blocking_gates(gates) and all(gate.state != ReleaseGateState.WAITING for gate in gates)


def _gate(evaluation_set: EvaluationSet, version: ModelVersion, serving: ModelVersion | None) -> ReleaseGate:
    mine = latest_evaluation(version, evaluation_set)
    if mine is None:
        return _unmeasured(evaluation_set, version, serving)
    if serving is None:
        return ReleaseGate(evaluation_set, ReleaseGateState.NOT_COMPARABLE, "No version serves the platform yet.")
    other = latest_evaluation(serving, evaluation_set)
    if other is None:
        return _unmeasured(evaluation_set, serving, serving)
    try:
        found = engine.paired_difference(mine.report, other.report)
    except engine.NotComparable as error:
        waits = _has_open_job(version, evaluation_set) or _has_open_job(serving, evaluation_set)
        state = ReleaseGateState.WAITING if waits else ReleaseGateState.NOT_COMPARABLE
        return ReleaseGate(evaluation_set, state, str(error), serving)
    low, high = found["ci95"]
    if not has_enough_films(mine.report):
        reason = f"The films are too few: no finding is on {FEWEST_OF_EACH} of them and absent from {FEWEST_OF_EACH}."
        return ReleaseGate(evaluation_set, ReleaseGateState.FAILED, reason, serving)
    passed = low > -settings.GATE_DELTA
    bound = f"the 95 % interval begins at {low:+.3f}, and {-settings.GATE_DELTA:+.3f} is the limit"
    return ReleaseGate(
        evaluation_set,
        ReleaseGateState.PASSED if passed else ReleaseGateState.FAILED,
        f"Not worse than {serving}: {bound}." if passed else f"It may be worse than {serving}: {bound}.",
        serving,
        found["mean_auroc"],
        (low, high),
    )


def _unmeasured(evaluation_set: EvaluationSet, version: ModelVersion, serving: ModelVersion | None) -> ReleaseGate:
    job = EvaluationJob.objects.filter(model_version=version, evaluation_set=evaluation_set).first()
    if job is None:
        reason = f"{version} was never evaluated on it."
        return ReleaseGate(evaluation_set, ReleaseGateState.NOT_COMPARABLE, reason, serving)
    if job.state in OPEN_STATES:
        return ReleaseGate(evaluation_set, ReleaseGateState.WAITING, f"{version} is being evaluated on it.", serving)
    return ReleaseGate(
        evaluation_set, ReleaseGateState.NOT_COMPARABLE, f"{version} could not be evaluated: {job.reason}", serving
    )


def _has_open_job(version: ModelVersion, evaluation_set: EvaluationSet) -> bool:
    jobs = EvaluationJob.objects.filter(model_version=version, evaluation_set=evaluation_set)
    return jobs.filter(state__in=OPEN_STATES).exists()

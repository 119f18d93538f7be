"""What follows in `deployment` from a registered version and from an ended evaluation.

A new version is evaluated on every active set. An ended evaluation may decide the release gates of a version, which is
published.
"""

from collections.abc import Iterable
from typing import Any

from django.db.models import Exists, OuterRef
from django.dispatch import receiver

from apps.deployment.floor import failed_floor_checks
from apps.deployment.release_gates import failed_gates, may_be_released, platform_version, release_gates_of
from apps.deployment.services.evaluations import request_evaluations
from apps.evaluation.models import Evaluation, EvaluationSet
from apps.evaluation.selectors import latest_evaluation
from apps.evaluation.services import request_evaluation_jobs
from apps.evaluation.signals import evaluation_ended
from apps.events.models import ModelEvent
from apps.events.services import publish
from apps.registry.models import ModelVersion
from apps.registry.signals import version_registered


@receiver(version_registered)
def measure_new_version(version: ModelVersion, **_: Any) -> None:
    request_evaluations(version=version)


@receiver(evaluation_ended)
def publish_gate_events(
    version: ModelVersion, evaluation_set: EvaluationSet | None, evaluation: Evaluation | None, **_: Any
) -> None:
    """Publish what an ended evaluation means for the release gates."""
    if evaluation is not None and evaluation_set is not None:
        _evaluate_serving_again(evaluation, evaluation_set)
    _publish_gate_outcome(version=version, evaluation_set=evaluation_set)


def _evaluate_serving_again(latest: Evaluation, evaluation_set: EvaluationSet) -> None:
    """Evaluate the platform's version again where the set's films have changed since; else they cannot be compared."""
    serving = platform_version()
    other = latest_evaluation(serving, evaluation_set) if serving and serving != latest.model_version else None
    if serving and other and _films_of(other) != _films_of(latest):
        request_evaluation_jobs([(evaluation_set, serving)])


def _films_of(evaluation: Evaluation) -> str | None:
    """The SHA-256 of the evaluated films; None in evaluations of an earlier release."""
    found: str | None = evaluation.report.get("bootstrap", {}).get("films_sha256")
    return found


def _publish_gate_outcome(*, version: ModelVersion, evaluation_set: EvaluationSet | None) -> None:
    """Publish, once for a version, that it is verified or that a release gate failed, after an evaluation ended.

    An evaluation of the platform's version decides the gates of all versions that waited for it.
    """
    concerned = [version]
    if evaluation_set is not None and version == platform_version():
        concerned += _waiting_for(evaluation_set, version)
    for each in concerned:
        _publish_once(each)


def _waiting_for(evaluation_set: EvaluationSet, serving: ModelVersion) -> Iterable[ModelVersion]:
    verified = ModelEvent.objects.filter(model_version_id=OuterRef("pk"), type=ModelEvent.Type.VERIFIED)
    measured = ModelVersion.objects.filter(retired=None, evaluations__evaluation_set=evaluation_set).exclude(
        pk=serving.pk
    )
    return measured.exclude(Exists(verified)).distinct()


def _publish_once(version: ModelVersion) -> None:
    if not Evaluation.objects.filter(model_version=version).exists():
        return
    # Locked: two evaluations may end at the same moment, and only one may publish.
    ModelVersion.objects.select_for_update(no_key=True).get(pk=version.pk)
    gates = release_gates_of(version)
    floor = failed_floor_checks(version, platform_version())
    kind = None
    if floor or failed_gates(gates):
        kind = ModelEvent.Type.GATE_FAILED
    elif may_be_released(gates):
        kind = ModelEvent.Type.VERIFIED
    if kind and not ModelEvent.objects.filter(model_version_id=version.pk, type=kind).exists():
        states = [
            {"set": str(each.evaluation_set), "state": each.state.value, "difference": each.difference,
             "ci95": list(each.ci95) if each.ci95 else None}
            for each in gates
        ]  # fmt: skip
        publish(
            kind=kind,
            version_id=version.pk,
            data={**version.identity, "floor": [each.rule for each in floor], "gates": states},
        )

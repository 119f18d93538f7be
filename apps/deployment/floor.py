"""The floor: what a version must show before it reads for patients, also where no evaluation set is kept.

Figures come from the version's largest current evaluation. Where it was never evaluated here, the held-out figures of
its own training stand in. Like release gates, the checks are computed each time from what is stored.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from django.conf import settings

from apps.evaluation.models import Evaluation
from apps.evaluation.selectors import current_evaluations
from apps.registry.models import ModelVersion

CHANCE = 0.5
# With fewer films an interval says nothing: on two films an AUROC is 0, 0.5 or 1 in every round of the bootstrap.
FEWEST_OF_EACH = 10
_HELD_OUT_PARTS = ("test", "validation")


@dataclass(frozen=True)
class FloorCheck:
    """One rule of the floor; ``passed`` is None where the rule could not be checked."""

    rule: str
    passed: bool | None
    reason: str
    serving: ModelVersion | None = None

    def to_dict(self) -> dict[str, Any]:
        """The check as the ledger keeps it, in the keys of a release gate."""
        serving = str(self.serving) if self.serving else None
        return {"set": f"Floor: {self.rule}", "serving": serving, "reason": self.reason}


@dataclass(frozen=True)
class Figures:
    """What was measured of a version on one list of images.

    Attributes:
        films: name of the list, for people.
        report: as `evaluate_version` writes it; held-out figures have fewer keys.
        is_measured_here: by an evaluation; otherwise the figures came with the version.
    """

    films: str
    report: Mapping[str, Any]
    is_measured_here: bool = True

    @property
    def mean_auroc(self) -> float | None:
        return self.report.get("mean_auroc")

    @property
    def ci95(self) -> tuple[float, float] | None:
        return self.report.get("ci95")

    @cached_property
    def labels(self) -> dict[str, tuple[float, float]]:
        """AUROC and half the width of its 95 % interval, of each label that has both."""
        return {
            label: (entry["auroc"], (entry["ci95"][1] - entry["ci95"][0]) / 2)
            for label, entry in self.report.get("labels", {}).items()
            if entry.get("auroc") is not None and entry.get("ci95")
        }

    @property
    def is_large_enough(self) -> bool:
        """Whether an interval means something. Figures of elsewhere may not say how many films they come from."""
        return not self.is_measured_here or has_enough_films(self.report)

    @property
    def calibration_error(self) -> float | None:
        return self.report.get("ece", {}).get("platt")

    @property
    def alarms(self) -> tuple[float, int] | None:
        """The share of normal images that were flagged, and their number."""
        found = self.report.get("normals_flagged") or {}
        return (found["share"], found["n"]) if found.get("n") else None


def has_enough_films(report: Mapping[str, Any]) -> bool:
    """Whether any finding of an evaluation has enough films with it and without it."""
    films = report.get("n")
    fewer = []
    for figures in report.get("labels", {}).values():
        positives = figures.get("positives")
        if positives is not None:
            known = figures.get("films") or films or 2 * positives
            fewer.append(min(positives, known - positives))
    return not fewer or max(fewer) >= FEWEST_OF_EACH


def floor_checks(version: ModelVersion, serving: ModelVersion | None) -> list[FloorCheck]:
    """Check a version against chance, and against the version that it would replace, where there is one."""
    evaluations = current_evaluations(version)
    found = [*map(_of_evaluation, evaluations), *filter(None, [_held_out(version)])]
    own = next((each for each in found if each.is_large_enough), found[0] if found else None)
    checks = [_above_chance(version, own)]
    if serving is None or serving == version:
        return checks
    both = _on_the_same_films(version, serving, evaluations)
    if both is None:
        reason = f"Not compared with {serving}: they were not measured on the same films. Evaluate both."
        return [*checks, FloorCheck("compared with the version in service", None, reason, serving)]
    mine, other = both
    return [*checks, *(rule(mine, other, serving) for rule in (_labels, _alarms, _calibration))]


def failed_floor_checks(version: ModelVersion, serving: ModelVersion | None) -> list[FloorCheck]:
    return [check for check in floor_checks(version, serving) if check.passed is False]


def _of_evaluation(evaluation: Evaluation) -> Figures:
    return Figures(f"{evaluation.evaluation_set or evaluation.split_id} ({evaluation.n} films)", evaluation.report)


def _held_out(version: ModelVersion) -> Figures | None:
    """The held-out figures that came with a version, in the keys of an evaluation."""
    metrics = version.manifest["metrics"]
    for part in _HELD_OUT_PARTS:
        if metrics.get(part, {}).get("mean_auroc") is None:
            continue
        by_label = metrics.get("calibration_error", {}).get(part, {}).values()
        errors = [error for error in by_label if error is not None]
        others = {
            "ece": {"platt": sum(errors) / len(errors)} if errors else {},
            "normals_flagged": metrics.get("alarms", {}).get(part),
        }
        return Figures(f"the {part} films of its training", metrics[part] | others, is_measured_here=False)
    return None


def _on_the_same_films(
    version: ModelVersion, serving: ModelVersion, evaluations: list[Evaluation]
) -> tuple[Figures, Figures] | None:
    """Both versions' figures on the largest list on which both were measured."""
    others = {each.split_sha256: each for each in current_evaluations(serving)}
    for mine in evaluations:
        other = others.get(mine.split_sha256)
        if not _of_evaluation(mine).is_large_enough:
            continue
        if other is not None and _films_sha256(mine) == _films_sha256(other):
            return _of_evaluation(mine), _of_evaluation(other)
    # Two trainings with one split held the same films out.
    split, own, held = version.data.get("split_sha256"), _held_out(version), _held_out(serving)
    if split and split == serving.data.get("split_sha256") and own and held and own.films == held.films:
        return own, held
    return None


def _films_sha256(evaluation: Evaluation) -> str | None:
    """Hash of the images with their truth; None in evaluations of an earlier release."""
    found: str | None = evaluation.report.get("bootstrap", {}).get("films_sha256")
    return found


def _above_chance(version: ModelVersion, own: Figures | None) -> FloorCheck:
    rule = "better than chance"
    if own is None:
        return FloorCheck(
            rule,
            False,
            f"{version} was never evaluated, and it came without held-out figures of its training. Evaluate it: "
            f"manage.py evaluate_model --version {version} --data DIR.",
        )
    if own.mean_auroc is None or own.ci95 is None or not own.is_large_enough:
        return FloorCheck(rule, False, f"The films are too few for an interval of the mean AUROC: {own.films}.")
    low, high = own.ci95
    found = f"mean AUROC {own.mean_auroc:.3f}, 95 % interval {low:.3f} to {high:.3f}, on {own.films}"
    if low > CHANCE:
        return FloorCheck(rule, True, f"{found[0].upper()}{found[1:]}.")
    return FloorCheck(rule, False, f"It is not shown to be better than chance ({CHANCE}): {found}.")


def _labels(mine: Figures, other: Figures, serving: ModelVersion) -> FloorCheck:
    """A label's limit: the interval of the difference, as of independent samples, and `FLOOR_LABEL_DELTA` at least."""
    worse = []
    for label in mine.labels.keys() & other.labels.keys():
        (now, half), (before, other_half) = mine.labels[label], other.labels[label]
        limit = max(settings.FLOOR_LABEL_DELTA, math.hypot(half, other_half))
        if before - now > limit:
            worse.append(f"{label} {before:.3f} → {now:.3f} (limit −{limit:.3f})")
    return _compared("AUROC of each label", serving, mine, "; ".join(sorted(worse)))


def _alarms(mine: Figures, other: Figures, serving: ModelVersion) -> FloorCheck:
    """The limit is the interval of the difference of the shares, and `FLOOR_ALARMS_DELTA` at least."""
    rule = "alarms on normal films"
    if mine.alarms is None or other.alarms is None:
        return _unknown(rule, serving, "no normal films, or an evaluation by an earlier release: evaluate both again")
    (now, n), (before, other_n) = mine.alarms, other.alarms
    noise = 1.96 * math.sqrt(now * (1 - now) / n + before * (1 - before) / other_n)
    limit = max(settings.FLOOR_ALARMS_DELTA, noise)
    worse = f"flagged {before:.1%} → {now:.1%} of {n} (limit +{limit:.1%})" if now - before > limit else ""
    return _compared(rule, serving, mine, worse)


def _calibration(mine: Figures, other: Figures, serving: ModelVersion) -> FloorCheck:
    rule = "calibration error"
    now, before = mine.calibration_error, other.calibration_error
    if now is None or before is None:
        return _unknown(rule, serving, "an evaluation has no calibration error")
    limit = settings.FLOOR_ECE_DELTA
    worse = f"ECE {before:.3f} → {now:.3f} (limit +{limit:.3f})" if now - before > limit else ""
    return _compared(rule, serving, mine, worse)


def _compared(rule: str, serving: ModelVersion, mine: Figures, worse: str) -> FloorCheck:
    if not worse:
        return FloorCheck(rule, True, f"Not worse than {serving} on {mine.films}.", serving)
    return FloorCheck(rule, False, f"Worse than {serving} on {mine.films}: {worse}.", serving)


def _unknown(rule: str, serving: ModelVersion, why: str) -> FloorCheck:
    return FloorCheck(rule, None, f"Not compared with {serving}: {why}.", serving)

"""Operating points: the threshold that follows from a tenant's choice.

A choice is met on the operating curve of films with known truth, or by the share of recent studies that is flagged.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from django.utils.translation import gettext as _

from apps.core.errors import InvalidInputError
from apps.core.finding_names import finding_name
from apps.deployment.alarms import budget_point
from apps.deployment.models import OperatingPoint
from apps.evaluation.models import Evaluation
from apps.registry.models import ModelVersion

Strategy = OperatingPoint.Strategy
# With fewer positive films or recent studies, the point would depend on one or two of them.
FEWEST_POSITIVES = 10
FEWEST_STUDIES = 20
FEWEST_FLAGGED = 5
_TARGETED = (Strategy.SENSITIVITY, Strategy.SPECIFICITY, Strategy.ALERT_RATE, Strategy.ALARM_BUDGET)
_EDGE = 1e-6


def clamp_threshold(value: float) -> float:
    """The threshold, moved inside the open interval (0, 1) as the database requires."""
    return min(max(value, _EDGE), 1.0 - _EDGE)


@dataclass(frozen=True)
class PointChoice:
    """What a tenant chose for one finding: a strategy with its target, or a value set by hand with the reason."""

    strategy: str
    target: float | None = None
    value: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class Point:
    """A choice and the threshold that follows from it."""

    value: float
    strategy: str
    target: float | None = None
    reason: str = ""

    @classmethod
    def of(cls, row: OperatingPoint) -> "Point":
        return cls(row.value, row.strategy, row.target, row.reason)

    @property
    def how(self) -> str:
        """The strategy and its target, as text."""
        target = "" if self.target is None else f" {self.target:.2f}"
        return f"{Strategy(self.strategy).label}{target}"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class OperatingCurve:
    """Vertices (threshold, sensitivity, specificity) in falling order of thresholds, on films with known truth."""

    vertices: Sequence[Sequence[float]]
    positives: int
    source: str

    def at(self, threshold: float) -> tuple[float, float]:
        """Sensitivity and specificity at the nearest vertex at or above a threshold."""
        found = (0.0, 1.0)
        for value, sensitivity, specificity in self.vertices:
            if value < threshold:
                break
            found = (sensitivity, specificity)
        return found


def describe_point(point: Point | None, version: ModelVersion | None, label: str) -> str:
    """A point and how it was chosen, as text; None means the version's own point, where it has one."""
    if point is not None:
        return f"{point.value:.3f} ({point.how.lower()})"
    own = version.thresholds.get(label) if version else None
    return f"{own['value']:.3f} (the version's own)" if own else "no operating point"


def operating_curves(version: ModelVersion) -> dict[str, OperatingCurve]:
    """The operating curve of each label that has one.

    It comes from the validation films of the training, or else from the latest evaluation.
    """
    stored = version.manifest["metrics"].get("operating_curve", {}).get("validation", {})
    if stored:
        source = "validation films of the training"
        return {
            label: OperatingCurve(vertices, point["positives"] or 0, source)
            for label, vertices in stored.items()
            if (point := version.thresholds[label]) is not None
        }
    evaluation = Evaluation.objects.filter(model_version=version).first()
    entries: Mapping[str, Any] = evaluation.report["labels"] if evaluation else {}
    return {
        label: OperatingCurve(entry["operating_curve"], entry["positives"], f"evaluation on {evaluation.split_id}")
        for label, entry in entries.items()
        if evaluation and entry.get("operating_curve")
    }


def resolve_choice(
    version: ModelVersion, label: str, choice: PointChoice, curve: OperatingCurve | None, recent: Sequence[float]
) -> Point:
    """The operating point that meets a choice.

    Args:
        curve: the label's curve from `operating_curves`.
        recent: the version's calibrated probabilities, 0 to 1, of this label on the tenant's recent studies.

    Returns:
        The point, with a threshold inside (0, 1).

    Raises:
        InvalidInputError: the choice cannot be met, or too few films support it; the detail says what to do.
    """
    _check(version, label, choice)
    if choice.strategy == Strategy.MANUAL:
        assert choice.value is not None
        return Point(choice.value, Strategy.MANUAL, None, choice.reason)
    if choice.strategy == Strategy.ALARM_BUDGET:
        value = budget_point(version, label, choice.target or 0.0)
        return Point(clamp_threshold(value), choice.strategy, choice.target, choice.reason)
    positives = _positives(version, label, curve)
    # A share of studies needs no films with known truth; it is refused only where these are known to be too few.
    is_unknown_rate = positives is None and choice.strategy == Strategy.ALERT_RATE
    if (positives or 0) < FEWEST_POSITIVES and not is_unknown_rate:
        raise InvalidInputError(
            _(
                "%(label)s: %(version)s was measured on fewer than %(value)s positive films, too few to know what a "
                "threshold does. Set one by hand with a reason, or evaluate the version on more films."
            )
            % {"label": finding_name(label), "version": version, "value": FEWEST_POSITIVES},
            "too-few-positives",
        )
    found = _at_share(label, choice, recent) if choice.strategy == Strategy.ALERT_RATE else None
    if found is None:
        found = _on_curve(version, label, choice, curve)
    return Point(clamp_threshold(found), choice.strategy, choice.target, choice.reason)


def _positives(version: ModelVersion, label: str, curve: OperatingCurve | None) -> int | None:
    """On how many positive films a finding was measured; None where an imported version does not record it."""
    own = version.thresholds[label]
    recorded = [own["positives"] if own else None, curve.positives if curve else None]
    counts = [count for count in recorded if count is not None]
    if counts:
        return max(counts)
    # Where only some points are missing, they had too few films; where all are missing, nothing is known.
    return 0 if own is None and any(version.thresholds.values()) else None


def _check(version: ModelVersion, label: str, choice: PointChoice) -> None:
    if label not in version.manifest["labels"]:
        raise InvalidInputError(
            _("%(label)s is not a finding of %(version)s.") % {"label": repr(label), "version": version}
        )
    if choice.strategy not in Strategy.values:
        raise InvalidInputError(
            _("%(label)s: %(strategy)s is not one of %(join)s.")
            % {"label": finding_name(label), "strategy": repr(choice.strategy), "join": ", ".join(Strategy.values)}
        )
    if choice.strategy == Strategy.MANUAL:
        if choice.value is None or not 0.0 < choice.value < 1.0:
            raise InvalidInputError(_("%(label)s: give a threshold between 0 and 1.") % {"label": finding_name(label)})
        if not choice.reason.strip():
            raise InvalidInputError(
                _("%(label)s: give the reason for setting the threshold by hand.") % {"label": finding_name(label)},
                "reason-missing",
            )
    elif choice.strategy in _TARGETED and (choice.target is None or not 0.0 < choice.target < 1.0):
        raise InvalidInputError(
            _("%(label)s: give the %(replace)s as a number between 0 and 1.")
            % {"label": finding_name(label), "replace": choice.strategy.replace("_", " ")}
        )


def _on_curve(version: ModelVersion, label: str, choice: PointChoice, curve: OperatingCurve | None) -> float:
    own = version.thresholds[label]
    if choice.strategy == Strategy.YOUDEN and own is not None and own["strategy"] == Strategy.YOUDEN:
        return float(own["value"])
    if curve is None:
        raise InvalidInputError(
            _(
                "%(label)s: %(version)s has no operating curve. Evaluate it: manage.py evaluate_model --version "
                "%(version)s."
            )
            % {"label": finding_name(label), "version": version},
            "no-curve",
        )
    target = choice.target or 0.0
    if choice.strategy == Strategy.YOUDEN:
        return max(curve.vertices, key=lambda vertex: vertex[1] + vertex[2])[0]
    if choice.strategy == Strategy.SENSITIVITY:
        return next(vertex[0] for vertex in curve.vertices if vertex[1] >= target)
    reached = [vertex[0] for vertex in curve.vertices if vertex[2] >= target]
    if not reached:
        raise InvalidInputError(
            _("%(label)s: %(version)s does not reach a specificity of %(target)s at any measured threshold.")
            % {"label": finding_name(label), "version": version, "target": target}
        )
    return reached[-1]


def _at_share(label: str, choice: PointChoice, recent: Sequence[float]) -> float:
    share = choice.target or 0.0
    need = studies_for_share(share)
    if len(recent) < need:
        raise InvalidInputError(
            _("%(label)s: a share of %(share)s needs at least %(need)s recent studies, and there are %(len)s.")
            % {"label": finding_name(label), "share": f"{share:.1%}", "need": need, "len": len(recent)},
            "too-few-studies",
        )
    return threshold_for_share(recent, share)


def studies_for_share(share: float) -> int:
    """The fewest studies of which this share flags at least one, and leaves at least one unflagged."""
    return max(FEWEST_STUDIES, math.ceil(1.0 / min(share, 1.0 - share) - 1e-9))


def threshold_for_share(probabilities: Sequence[float], share: float) -> float:
    """The lowest threshold that flags at most this share of the studies; probabilities and share are 0 to 1."""
    ordered = sorted(probabilities, reverse=True)
    allowed = math.floor(share * len(ordered) + 1e-9)
    if allowed >= len(ordered):
        return ordered[-1]
    above = [value for value in ordered[:allowed] if value > ordered[allowed]]
    if not above:
        return math.nextafter(ordered[allowed], 1.0)
    return (above[-1] + ordered[allowed]) / 2.0


def share_flagged(probabilities: Sequence[float], threshold: float | None) -> float | None:
    """The share of studies at or above a threshold; None without studies or without a threshold."""
    if threshold is None or not probabilities:
        return None
    return sum(value >= threshold for value in probabilities) / len(probabilities)

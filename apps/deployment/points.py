"""Choosing an operating point: by what a version did on films of known truth, or by the share that is flagged."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from apps.core.errors import InvalidInputError
from apps.deployment.models import OperatingPoint
from apps.evaluation.models import Evaluation
from apps.registry.models import ModelVersion

Strategy = OperatingPoint.Strategy
# Fewer positive films, or fewer recent studies, and the point would be an accident of one or two of them.
FEWEST_POSITIVES = 10
FEWEST_STUDIES = 20
FEWEST_FLAGGED = 5
_TARGETED = (Strategy.SENSITIVITY, Strategy.SPECIFICITY, Strategy.ALERT_RATE)
_EDGE = 1e-6


def clamp_threshold(value: float) -> float:
    """A threshold that lies inside (0, 1), as every one that is stored."""
    return min(max(value, _EDGE), 1.0 - _EDGE)


@dataclass(frozen=True)
class Choice:
    """How a tenant wants one finding to be judged: a strategy with its target, or a value by hand with the reason."""

    strategy: str
    target: float | None = None
    value: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class Point:
    """A choice and the threshold that it led to."""

    value: float
    strategy: str
    target: float | None = None
    reason: str = ""

    @classmethod
    def of(cls, row: OperatingPoint) -> "Point":
        return cls(row.value, row.strategy, row.target, row.reason)

    @property
    def how(self) -> str:
        """How it was chosen, in words."""
        target = "" if self.target is None else f" {self.target:.2f}"
        return f"{Strategy(self.strategy).label}{target}"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class OperatingCurve:
    """(threshold, sensitivity, specificity), thresholds falling, on films of known truth."""

    vertices: Sequence[Sequence[float]]
    positives: int
    source: str

    def at(self, threshold: float) -> tuple[float, float]:
        """Sensitivity and specificity at a threshold, by the nearest one above that was measured."""
        found = (0.0, 1.0)
        for value, sensitivity, specificity in self.vertices:
            if value < threshold:
                break
            found = (sensitivity, specificity)
        return found


def describe_point(point: Point | None, version: ModelVersion | None, label: str) -> str:
    """A point and how it was chosen; None is the version's own, where it has one."""
    if point is not None:
        return f"{point.value:.3f} ({point.how.lower()})"
    own = version.thresholds.get(label) if version else None
    return f"{own['value']:.3f} (the version's own)" if own else "not judged"


def operating_curves(version: ModelVersion) -> dict[str, OperatingCurve]:
    """The curve of each label that has one: from validation films of the training, or else the latest evaluation."""
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
    version: ModelVersion, label: str, choice: Choice, curve: OperatingCurve | None, recent: Sequence[float]
) -> Point:
    """The point of a choice.

    Args:
        curve: of this label, from `operating_curves`.
        recent: the version's calibrated probabilities of this label on the tenant's recent studies.

    Raises:
        InvalidInputError: the choice cannot be met or judged; the detail says what to do.
    """
    _check(version, label, choice)
    if choice.strategy == Strategy.MANUAL:
        assert choice.value is not None
        return Point(choice.value, Strategy.MANUAL, None, choice.reason)
    positives = _positives(version, label, curve)
    # A share of studies needs no truth, only scores that nobody knows to be worthless.
    is_unknown_rate = positives is None and choice.strategy == Strategy.ALERT_RATE
    if (positives or 0) < FEWEST_POSITIVES and not is_unknown_rate:
        raise InvalidInputError(
            f"{label}: {version} is known to have been judged on fewer than {FEWEST_POSITIVES} positive films: nobody "
            "can say what a threshold does. Set one by hand and say why, or evaluate the version on more films.",
            "too-few-positives",
        )
    value = _at_rate(label, choice, recent) if choice.strategy == Strategy.ALERT_RATE else None
    if value is None:
        value = _on_curve(version, label, choice, curve)
    return Point(clamp_threshold(value), choice.strategy, choice.target, choice.reason)


def _positives(version: ModelVersion, label: str, curve: OperatingCurve | None) -> int | None:
    """On how many positive films a finding was judged; None where an imported version's source does not say."""
    own = version.thresholds[label]
    told = [own["positives"] if own else None, curve.positives if curve else None]
    counts = [count for count in told if count is not None]
    if counts:
        return max(counts)
    # A point that is missing beside others was left out for want of films; a source without any says nothing.
    return 0 if own is None and any(version.thresholds.values()) else None


def _check(version: ModelVersion, label: str, choice: Choice) -> None:
    if label not in version.manifest["labels"]:
        raise InvalidInputError(f"{label!r} is no finding of {version}.")
    if choice.strategy not in Strategy.values:
        raise InvalidInputError(f"{label}: {choice.strategy!r} is not one of {', '.join(Strategy.values)}.")
    if choice.strategy == Strategy.MANUAL:
        if choice.value is None or not 0.0 < choice.value < 1.0:
            raise InvalidInputError(f"{label}: give a threshold between 0 and 1.")
        if not choice.reason.strip():
            raise InvalidInputError(f"{label}: say why the threshold is set by hand.", "reason-missing")
    elif choice.strategy in _TARGETED and (choice.target is None or not 0.0 < choice.target < 1.0):
        raise InvalidInputError(f"{label}: give the {choice.strategy.replace('_', ' ')} as a number between 0 and 1.")


def _on_curve(version: ModelVersion, label: str, choice: Choice, curve: OperatingCurve | None) -> float:
    own = version.thresholds[label]
    if choice.strategy == Strategy.YOUDEN and own is not None and own["strategy"] == Strategy.YOUDEN:
        return float(own["value"])
    if curve is None:
        raise InvalidInputError(
            f"{label}: of {version} no curve is known. Measure it first: manage.py evaluate_model --version {version}.",
            "no-curve",
        )
    target = choice.target or 0.0
    if choice.strategy == Strategy.YOUDEN:
        return max(curve.vertices, key=lambda vertex: vertex[1] + vertex[2])[0]
    if choice.strategy == Strategy.SENSITIVITY:
        return next(vertex[0] for vertex in curve.vertices if vertex[1] >= target)
    reached = [vertex[0] for vertex in curve.vertices if vertex[2] >= target]
    if not reached:
        raise InvalidInputError(f"{label}: {version} reaches a specificity of {target} at no threshold that was seen.")
    return reached[-1]


def _at_rate(label: str, choice: Choice, recent: Sequence[float]) -> float:
    rate = choice.target or 0.0
    need = studies_for_rate(rate)
    if len(recent) < need:
        raise InvalidInputError(
            f"{label}: a share of {rate:.1%} needs at least {need} recent studies, and there are {len(recent)}.",
            "too-few-studies",
        )
    return threshold_for_rate(recent, rate)


def studies_for_rate(rate: float) -> int:
    """How many studies it takes until at least one of them is flagged, and one is not."""
    return max(FEWEST_STUDIES, math.ceil(1.0 / min(rate, 1.0 - rate) - 1e-9))


def threshold_for_rate(probabilities: Sequence[float], rate: float) -> float:
    """The lowest threshold that flags no more than this share of the studies."""
    ordered = sorted(probabilities, reverse=True)
    allowed = math.floor(rate * len(ordered) + 1e-9)
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

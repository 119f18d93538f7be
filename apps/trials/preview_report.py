"""The report of a preview: what a switch would change, counted on studies that both versions have read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from apps.core.errors import InvalidInputError
from apps.deployment.points import (
    FEWEST_FLAGGED,
    FEWEST_STUDIES,
    OperatingCurve,
    Point,
    PointChoice,
    Strategy,
    clamp_threshold,
    operating_curves,
    resolve_choice,
    share_flagged,
    studies_for_share,
    threshold_for_share,
)
from apps.registry.models import ModelVersion

Probabilities = Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class PairedProbabilities:
    """Both versions' calibrated paired by label, on the same studies in the same order."""

    current: Probabilities
    candidate: Probabilities
    studies: int
    refused: int


def preview_report(
    from_version: ModelVersion, to_version: ModelVersion, chosen: Mapping[str, Point], paired: PairedProbabilities
) -> dict[str, Any]:
    """For each label: the studies flagged before and after, and the operating point that keeps the tenant's choice."""
    known = operating_curves(to_version)
    labels = {}
    for label in dict.fromkeys([*from_version.manifest["labels"], *to_version.manifest["labels"]]):
        point = chosen.get(label)
        labels[label] = _label(from_version, to_version, label, point, known.get(label), paired)
    return {
        "from": {"version": str(from_version), "sha256": from_version.sha256},
        "to": {"version": str(to_version), "sha256": to_version.sha256},
        "studies": paired.studies,
        "refused": paired.refused,
        "points": {label: point.to_dict() for label, point in chosen.items()},
        "labels": labels,
    }


def _label(
    from_version: ModelVersion,
    to_version: ModelVersion,
    label: str,
    point: Point | None,
    curve: OperatingCurve | None,
    paired: PairedProbabilities,
) -> dict[str, Any]:
    if label not in paired.current or label not in paired.candidate:
        return _label_of_one_version(from_version, to_version, label, point, paired)
    current, candidate = paired.current[label], paired.candidate[label]
    before = point.value if point else _default_threshold(from_version, label)
    proposed, note = _proposal(from_version, to_version, label, point, curve, current, candidate)
    after = proposed.value if proposed else _default_threshold(to_version, label)
    flagged_before = [before is not None and value >= before for value in current]
    flagged_after = [after is not None and value >= after for value in candidate]
    return {
        "threshold_before": before,
        "threshold_after": after,
        "flagged_before": sum(flagged_before),
        "flagged_after": sum(flagged_after),
        "flagged_at_former_threshold": round((share_flagged(candidate, before) or 0.0) * len(candidate)),
        "turned_on": sum(now and not then for then, now in zip(flagged_before, flagged_after, strict=True)),
        "turned_off": sum(then and not now for then, now in zip(flagged_before, flagged_after, strict=True)),
        "proposed": proposed.to_dict() if proposed else None,
        "note": note,
    }


def _label_of_one_version(
    from_version: ModelVersion, to_version: ModelVersion, label: str, point: Point | None, paired: PairedProbabilities
) -> dict[str, Any]:
    """A finding that only one of the versions reads."""
    before = (point.value if point else _default_threshold(from_version, label)) if label in paired.current else None
    after = _default_threshold(to_version, label) if label in paired.candidate else None
    flagged_before = sum(before is not None and value >= before for value in paired.current.get(label, ()))
    flagged_after = sum(after is not None and value >= after for value in paired.candidate.get(label, ()))
    return {
        "threshold_before": before,
        "threshold_after": after,
        "flagged_before": flagged_before,
        "flagged_after": flagged_after,
        "flagged_at_former_threshold": 0,
        "turned_on": flagged_after,
        "turned_off": flagged_before,
        "proposed": None,
        "note": f"Only {from_version if label in paired.current else to_version} reads this finding.",
    }


def _too_few(point: Point, share: float, studies: int) -> str | None:
    """Why the sample is too small to find the threshold that flags a share; None where it is large enough."""
    if point.strategy == Strategy.ALERT_RATE:
        need = studies_for_share(share)
        return None if studies >= need else f"Only {studies} studies: {need} are needed to keep a share of {share:.1%}."
    flagged = round(share * studies)
    if FEWEST_FLAGGED <= flagged <= studies - FEWEST_FLAGGED:
        return None
    return (
        f"{flagged} of {studies} studies were flagged: to find a threshold, at least {FEWEST_FLAGGED} flagged and "
        f"{FEWEST_FLAGGED} unflagged ones are needed. Preview more studies, or choose this finding's point again."
    )


def _default_threshold(version: ModelVersion, label: str) -> float | None:
    own = version.thresholds.get(label)
    return float(own["value"]) if own else None


def _proposal(
    from_version: ModelVersion,
    to_version: ModelVersion,
    label: str,
    point: Point | None,
    curve: OperatingCurve | None,
    current: Sequence[float],
    candidate: Sequence[float],
) -> tuple[Point | None, str]:
    """Return the operating point that keeps the tenant's choice, and a note.

    There is no point if there is no choice or there are too few studies.
    """
    if point is None:
        return None, "The version's own point."
    if point.strategy == Strategy.ALARM_BUDGET:
        try:
            kept = resolve_choice(to_version, label, PointChoice(point.strategy, point.target), None, ())
        except InvalidInputError as error:
            return None, error.detail
        return kept, "Keeps the share of normal films that is flagged."
    by_curve = point.strategy in (Strategy.YOUDEN, Strategy.SENSITIVITY, Strategy.SPECIFICITY)
    has_default = _default_threshold(to_version, label) is not None
    if by_curve and (curve is not None or (point.strategy == Strategy.YOUDEN and has_default)):
        kept = resolve_choice(to_version, label, PointChoice(point.strategy, point.target), curve, ())
        return kept, f"Keeps the {Strategy(point.strategy).label.lower()}."
    if len(candidate) < FEWEST_STUDIES:
        return None, f"Only {len(candidate)} studies: {FEWEST_STUDIES} are needed to keep a share."
    share = point.target if point.strategy == Strategy.ALERT_RATE else share_flagged(current, point.value)
    assert share is not None
    if (reason := _too_few(point, share, len(current))) is not None:
        return None, reason
    value = clamp_threshold(threshold_for_share(candidate, share))
    if point.strategy == Strategy.ALERT_RATE:
        return Point(value, point.strategy, point.target, point.reason), "Keeps the share of studies flagged."
    # The strategy cannot be kept, so the point becomes a value set by hand, with its origin as the reason.
    reason = (
        f"Chosen to flag the same share of studies ({share:.1%} of {len(current)}) as the threshold "
        f"{point.value:.3f} of {from_version}."
    )
    return Point(value, Strategy.MANUAL, None, f"{reason} {point.reason}".strip()), reason

"""The report of a preview: what a switch would change, counted on studies that both versions have read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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
    studies_for_rate,
    threshold_for_rate,
)
from apps.registry.models import ModelVersion

Probabilities = Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class PairedProbabilities:
    """Both versions' calibrated probabilities by label, on the same studies in the same order."""

    former: Probabilities
    candidate: Probabilities
    studies: int
    refused: int


def preview_report(
    from_version: ModelVersion, to_version: ModelVersion, chosen: Mapping[str, Point], read: PairedProbabilities
) -> dict[str, Any]:
    """Per label: counts flagged before and after, and the point that keeps what the tenant chose."""
    known = operating_curves(to_version)
    labels = {}
    for label in dict.fromkeys([*from_version.manifest["labels"], *to_version.manifest["labels"]]):
        point = chosen.get(label)
        labels[label] = _label(from_version, to_version, label, point, known.get(label), read)
    return {
        "from": {"version": str(from_version), "sha256": from_version.sha256},
        "to": {"version": str(to_version), "sha256": to_version.sha256},
        "studies": read.studies,
        "refused": read.refused,
        "points": {label: point.to_dict() for label, point in chosen.items()},
        "labels": labels,
    }


def _label(
    from_version: ModelVersion,
    to_version: ModelVersion,
    label: str,
    point: Point | None,
    curve: OperatingCurve | None,
    read: PairedProbabilities,
) -> dict[str, Any]:
    if label not in read.former or label not in read.candidate:
        return _one_sided(from_version, to_version, label, point, read)
    former, candidate = read.former[label], read.candidate[label]
    before = point.value if point else _own(from_version, label)
    proposed, note = _proposal(from_version, to_version, label, point, curve, former, candidate)
    after = proposed.value if proposed else _own(to_version, label)
    was = [before is not None and value >= before for value in former]
    will = [after is not None and value >= after for value in candidate]
    return {
        "threshold_before": before,
        "threshold_after": after,
        "flagged_before": sum(was),
        "flagged_after": sum(will),
        "flagged_at_former_threshold": round((share_flagged(candidate, before) or 0.0) * len(candidate)),
        "turned_on": sum(now and not then for then, now in zip(was, will, strict=True)),
        "turned_off": sum(then and not now for then, now in zip(was, will, strict=True)),
        "proposed": proposed.to_dict() if proposed else None,
        "note": note,
    }


def _one_sided(
    from_version: ModelVersion, to_version: ModelVersion, label: str, point: Point | None, read: PairedProbabilities
) -> dict[str, Any]:
    """A finding that only one of the versions reads."""
    before = (point.value if point else _own(from_version, label)) if label in read.former else None
    after = _own(to_version, label) if label in read.candidate else None
    was = sum(before is not None and value >= before for value in read.former.get(label, ()))
    will = sum(after is not None and value >= after for value in read.candidate.get(label, ()))
    return {
        "threshold_before": before,
        "threshold_after": after,
        "flagged_before": was,
        "flagged_after": will,
        "flagged_at_former_threshold": 0,
        "turned_on": will,
        "turned_off": was,
        "proposed": None,
        "note": f"Only {from_version if label in read.former else to_version} reads this finding.",
    }


def _too_few(point: Point, share: float, studies: int) -> str | None:
    """Why the sample is too small to find the threshold that flags a share; None where it is large enough."""
    if point.strategy == Strategy.ALERT_RATE:
        need = studies_for_rate(share)
        return None if studies >= need else f"Only {studies} studies: {need} are needed to keep a share of {share:.1%}."
    flagged = round(share * studies)
    if FEWEST_FLAGGED <= flagged <= studies - FEWEST_FLAGGED:
        return None
    return (
        f"{flagged} of {studies} studies were flagged: to find a threshold, at least {FEWEST_FLAGGED} flagged and "
        f"{FEWEST_FLAGGED} unflagged ones are needed. Preview more studies, or choose this finding's point again."
    )


def _own(version: ModelVersion, label: str) -> float | None:
    own = version.thresholds.get(label)
    return float(own["value"]) if own else None


def _proposal(
    from_version: ModelVersion,
    to_version: ModelVersion,
    label: str,
    point: Point | None,
    curve: OperatingCurve | None,
    former: Sequence[float],
    candidate: Sequence[float],
) -> tuple[Point | None, str]:
    """The point that keeps the tenant's choice, and a note; no point without a choice or with too few studies."""
    if point is None:
        return None, "The version's own point."
    by_curve = point.strategy in (Strategy.YOUDEN, Strategy.SENSITIVITY, Strategy.SPECIFICITY)
    if by_curve and (curve is not None or (point.strategy == Strategy.YOUDEN and _own(to_version, label) is not None)):
        kept = resolve_choice(to_version, label, PointChoice(point.strategy, point.target), curve, ())
        return kept, f"Keeps the {Strategy(point.strategy).label.lower()}."
    if len(candidate) < FEWEST_STUDIES:
        return None, f"Only {len(candidate)} studies: {FEWEST_STUDIES} are needed to keep a share."
    share = point.target if point.strategy == Strategy.ALERT_RATE else share_flagged(former, point.value)
    assert share is not None
    if (reason := _too_few(point, share, len(former))) is not None:
        return None, reason
    value = clamp_threshold(threshold_for_rate(candidate, share))
    if point.strategy == Strategy.ALERT_RATE:
        return Point(value, point.strategy, point.target, point.reason), "Keeps the share of studies flagged."
    # The strategy cannot be kept, so the point becomes a value set by hand, with its origin as the reason.
    reason = f"Flags the share ({share:.1%} of {len(former)} studies) that {point.value:.3f} of {from_version} did."
    return Point(value, Strategy.MANUAL, None, f"{reason} {point.reason}".strip()), reason

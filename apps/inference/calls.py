"""What a version says of an image: for each finding whether it is positive and uncertain, and the study-level score."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from apps.deployment.models import Recalibration
from apps.registry import engine


@dataclass(frozen=True)
class Call:
    """One finding: its calibrated probability, and what the operating point makes of it (None: there is none)."""

    label: str
    probability: float
    threshold: float | None
    positive: bool
    uncertain: bool


@dataclass(frozen=True)
class AbnormalCall:
    """The calibrated probability that the image has any finding, with its operating point."""

    probability: float
    threshold: float

    @property
    def positive(self) -> bool:
        return self.probability >= self.threshold


def calls(
    probabilities: Mapping[str, float],
    thresholds: Mapping[str, float | None],
    margins: Mapping[str, float] | None,
    varied: Sequence[Mapping[str, float]] = (),
) -> list[Call]:
    """The calls of one image.

    Args:
        probabilities: calibrated, 0 to 1, by label.
        thresholds: the operating points in force (`deployment.selectors.thresholds_for`).
        margins: of the version; None for a version that does not abstain.
        varied: probabilities of the same image mirrored and zoomed; a call that they change is uncertain as well.
    """
    labels = list(probabilities)
    points = {label: point for label in labels if (point := thresholds[label]) is not None}
    doubtful = engine.uncertain(np.array([list(probabilities.values())]), labels, points, margins or {})[0]

    def is_positive(label: str, probability: float) -> bool:
        return label in points and probability >= points[label]

    return [
        Call(
            label=label,
            probability=probability,
            threshold=points.get(label),
            positive=(positive := is_positive(label, probability)),
            uncertain=bool(is_doubtful) or any(is_positive(label, each[label]) != positive for each in varied),
        )
        for (label, probability), is_doubtful in zip(probabilities.items(), doubtful, strict=True)
    ]


def recalibrated(called: Sequence[Call], recalibration: Recalibration | None) -> Sequence[Call]:
    """The calls on a tenant's scale: probabilities and thresholds move alike, and what is flagged stays as it is."""
    if recalibration is None:
        return called
    return [
        replace(
            call,
            probability=recalibration.shown(call.label, call.probability),
            threshold=None if call.threshold is None else recalibration.shown(call.label, call.threshold),
        )
        for call in called
    ]


def abnormal_call(probabilities: Mapping[str, float], score: "engine.AbnormalScore | None") -> AbnormalCall | None:
    """The study-level score of one image; None for a version without one."""
    if score is None or not probabilities:
        return None
    return AbnormalCall(float(score.probability(np.array([list(probabilities.values())]))[0]), score.threshold)


def abnormal_json(call: AbnormalCall | None) -> dict[str, Any] | None:
    """The study-level score in the public contract."""
    return None if call is None else {**vars(call), "positive": call.positive}


def localisation_text(is_validated: bool) -> str:
    """Whether a finding's map was measured to show where the finding is, in the words of the public contract."""
    return "validated" if is_validated else "not validated"

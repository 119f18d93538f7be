"""Abstention: calls so near to their operating point that a mirrored or slightly zoomed image may change them.

The margin of a label is chosen on held-out images, each of which was also read mirrored and zoomed. It is applied to
one reading and so costs no further forward pass. It follows the operating point when that is moved.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.model.calibration import logit

MOST_CHANGED = 0.05
"""Largest share of the calls outside the margin that may change, among positive and among negative ones."""


def fit_margin(logits: NDArray[Any], varied: Sequence[NDArray[Any]], threshold: float) -> float:
    """The smallest margin of one label outside of which at most MOST_CHANGED of the calls change.

    Args:
        logits: (N,), calibrated.
        varied: the same images' calibrated logits (N,) under each change.
        threshold: operating point, a probability inside (0, 1).
    """
    distance = np.asarray(logits, dtype=np.float64) - float(logit(threshold))
    others = [np.asarray(other, dtype=np.float64) - float(logit(threshold)) for other in varied]
    changed = np.any([(other >= 0) != (distance >= 0) for other in others], axis=0)
    sides = (distance >= 0, distance < 0)
    return max(_one_side(np.abs(distance[side]), changed[side]) for side in sides)


def _one_side(distance: NDArray[np.float64], changed: NDArray[np.bool_]) -> float:
    order = np.argsort(-distance, kind="stable")
    share = np.cumsum(changed[order]) / np.arange(1, len(order) + 1)
    allowed = np.flatnonzero(share <= MOST_CHANGED)
    last = int(allowed[-1]) if len(allowed) else -1
    if last == len(order) - 1:
        return 0.0
    return float(np.nextafter(distance[order[last + 1]], np.inf))


def uncertain(
    probabilities: NDArray[Any], labels: Sequence[str], thresholds: Mapping[str, float], margins: Mapping[str, float]
) -> NDArray[np.bool_]:
    """Which calls lie within the margin of their operating point, (N, L).

    Args:
        probabilities: calibrated, (N, L).
        labels: names of the columns.
        thresholds: by label; a label without one has no uncertain calls.
        margins: by label, from `fit_margin`; the same.
    """
    points = np.array([thresholds.get(label, 0.5) for label in labels])
    widths = np.array([margins.get(label, 0.0) if label in thresholds else 0.0 for label in labels])
    p = np.clip(np.asarray(probabilities, dtype=np.float64), 1e-9, 1.0 - 1e-9)
    return np.asarray(np.abs(logit(p) - logit(points)) < widths)

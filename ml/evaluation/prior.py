"""What a predicted box says of a radiologist's box, and the control that predicts without looking at the film."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ml.data import Box
from ml.evaluation.regions import Rectangle, peak_region

RASTER = 256
"""Side of the raster that regions are found on: steps of 4 pixels on a film of 1024. Radiologists' boxes stay exact."""
CUT = 0.5
OVERLAPS = (0.1, 0.25, 0.5)
FIGURES = (
    "pointing",
    *(f"iou>{limit}" for limit in OVERLAPS),
    *(f"iobb>{limit}" for limit in OVERLAPS),
    "box_contains_centre",
    "region_found",
)


def box_figures(pointing: bool, found: Rectangle | None, truth: Rectangle) -> list[float]:
    """In the order of FIGURES."""
    if found is None:
        return [float(pointing), *([0.0] * (len(FIGURES) - 1))]
    iou, iobb = found.iou(truth), found.overlap(truth) / found.area
    return [
        float(pointing),
        *(float(iou > limit) for limit in OVERLAPS),
        *(float(iobb > limit) for limit in OVERLAPS),
        float(found.contains(*truth.centre)),
        1.0,
    ]


class Prior:
    """Where boxes of a label lie, whatever the film: a density that leaves the judged box's own patient out."""

    def __init__(self, every: Sequence[Box], patients: Mapping[str, str]) -> None:
        self._patients = patients
        self._of: dict[tuple[str, str], list[Box]] = {}
        for box in every:
            self._of.setdefault((box.label, patients[box.image]), []).append(box)
        labels = {label for label, _ in self._of}
        self._total = {label: _density([box for box in every if box.label == label]) for label in labels}

    def figures(self, box: Box) -> NDArray[np.float64]:
        """In the order of FIGURES; all zero where no other patient has a box of that label."""
        own = _density(self._of[box.label, self._patients[box.image]])
        # Sums of shares in another order differ in their last digits, which must not break ties.
        density = np.round(self._total[box.label] - own, 6).astype(np.float32)
        if not density.any():
            return np.zeros(len(FIGURES))
        row, column = np.unravel_index(int(np.argmax(density)), density.shape)
        scale = box.columns / RASTER, box.rows / RASTER
        truth = Rectangle(box.x, box.y, box.x + box.width, box.y + box.height)
        pointing = truth.contains((column + 0.5) * scale[0], (row + 0.5) * scale[1])
        region = peak_region(density, CUT * float(density.max()))
        return np.array(box_figures(pointing, region.scaled(*scale) if region else None, truth))


def _density(boxes: Sequence[Box]) -> NDArray[np.float64]:
    """Over each pixel of the raster, how many boxes cover it (edges in shares)."""
    scaled = [box.scaled(RASTER, RASTER) for box in boxes]
    down = _coverage([b.y for b in scaled], [b.height for b in scaled])
    return np.asarray(down.T @ _coverage([b.x for b in scaled], [b.width for b in scaled]))


def _coverage(starts: Sequence[float], lengths: Sequence[float]) -> NDArray[np.float64]:
    """How much of each raster step [i, i + 1) each stretch covers, (stretches, RASTER)."""
    steps, start, length = np.arange(RASTER), np.array(starts)[:, None], np.array(lengths)[:, None]
    return np.asarray(np.clip(np.minimum(steps + 1, start + length) - np.maximum(steps, start), 0.0, 1.0))

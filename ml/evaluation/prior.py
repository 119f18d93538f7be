"""Compare a predicted box with a radiologist's box, and the control that predicts without using the image."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ml.data import Box
from ml.evaluation.regions import Rectangle, peak_region

RASTER = 256
"""Side of the raster for regions: steps of 4 pixels in an image of 1024. Radiologists' boxes are not rounded."""
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
    """Figures of a predicted box, in the order of FIGURES."""
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
    """The box-position prior: density of the boxes of a label, without those of the examined box's patient."""

    def __init__(self, all_boxes: Sequence[Box], patients: Mapping[str, str]) -> None:
        self._patients = patients
        self._by_label_and_patient: dict[tuple[str, str], list[Box]] = {}
        for box in all_boxes:
            self._by_label_and_patient.setdefault((box.label, patients[box.image]), []).append(box)
        labels = {label for label, _ in self._by_label_and_patient}
        self._total = {label: _density([box for box in all_boxes if box.label == label]) for label in labels}

    def figures(self, box: Box) -> NDArray[np.float64]:
        """Figures in the order of FIGURES; all zero where no other patient has a box of that label."""
        own = _density(self._by_label_and_patient[box.label, self._patients[box.image]])
        # Round, because sums in another order differ in their last digits, and these must not decide ties.
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
    """Number of boxes that cover each pixel of the raster; partly covered pixels count in part."""
    scaled = [box.scaled(RASTER, RASTER) for box in boxes]
    down = _coverage([b.y for b in scaled], [b.height for b in scaled])
    return np.asarray(down.T @ _coverage([b.x for b in scaled], [b.width for b in scaled]))


def _coverage(starts: Sequence[float], lengths: Sequence[float]) -> NDArray[np.float64]:
    """Share of each raster step [i, i + 1) that each interval covers, (intervals, RASTER)."""
    steps, start, length = np.arange(RASTER), np.array(starts)[:, None], np.array(lengths)[:, None]
    return np.asarray(np.clip(np.minimum(steps + 1, start + length) - np.maximum(steps, start), 0.0, 1.0))

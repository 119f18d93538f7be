"""Rectangles, and the connected region around the peak of a map."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Rectangle:
    """Edges in pixels of one raster: x from `left` to `right`, y from `top` to `bottom`."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def area(self) -> float:
        """Square pixels."""
        return max(0.0, self.right - self.left) * max(0.0, self.bottom - self.top)

    @property
    def centre(self) -> tuple[float, float]:
        """(x, y)."""
        return (self.left + self.right) / 2, (self.top + self.bottom) / 2

    def contains(self, x: float, y: float) -> bool:
        """Whether a point lies within, edges included."""
        return self.left <= x <= self.right and self.top <= y <= self.bottom

    def overlap(self, other: "Rectangle") -> float:
        """Area shared with another rectangle."""
        return Rectangle(
            max(self.left, other.left),
            max(self.top, other.top),
            min(self.right, other.right),
            min(self.bottom, other.bottom),
        ).area

    def iou(self, other: "Rectangle") -> float:
        """Overlap over union, 0..1."""
        shared = self.overlap(other)
        union = self.area + other.area - shared
        return shared / union if union > 0 else 0.0

    def scaled(self, across: float, down: float) -> "Rectangle":
        """The same rectangle on another raster."""
        return Rectangle(self.left * across, self.top * down, self.right * across, self.bottom * down)


def peak_region(values: NDArray[np.float32], cut: float) -> Rectangle | None:
    """Bounding box of the 4-connected pixels >= `cut` around the peak of `values` (rows, columns).

    Returns:
        None where the peak is below `cut`.
    """
    row, column = np.unravel_index(int(np.argmax(values)), values.shape)
    if not values[row, column] >= cut:
        return None
    runs = _runs(values >= cut)
    start = next(run for run in runs[int(row)] if run[0] <= column < run[1])
    waiting, seen = [(int(row), start)], {(int(row), start)}
    while waiting:
        y, (left, right) = waiting.pop()
        for near in (y - 1, y + 1):
            for run in runs.get(near, ()):
                if run[0] < right and left < run[1] and (near, run) not in seen:
                    seen.add((near, run))
                    waiting.append((near, run))
    rows = [y for y, _ in seen]
    return Rectangle(min(left for _, (left, _) in seen), min(rows), max(right for _, (_, right) in seen), max(rows) + 1)


def _runs(mask: NDArray[np.bool_]) -> dict[int, list[tuple[int, int]]]:
    """The runs [start, end) of True in each row. Runs are faster to connect than thousands of pixels."""
    padded = np.zeros((mask.shape[0], mask.shape[1] + 2), dtype=np.int8)
    padded[:, 1:-1] = mask
    rows, edges = np.nonzero(np.diff(padded, axis=1))
    result: dict[int, list[tuple[int, int]]] = {}
    for row, left, right in zip(rows[::2].tolist(), edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        result.setdefault(row, []).append((left, right))
    return result

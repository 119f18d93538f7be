"""Projection primitives: path lengths of the beam through ellipsoids and curved tubes.

Patient space is in centimetres: x to the patient's left (image right), y downwards from the top edge of the image,
z backwards along a parallel beam (negative is anterior). A path length is in centimetres of matter.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, floor
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

FloatArray = NDArray[np.floating[Any]]
Node = tuple[float, float, float, float]  # column, row, radius (pixels), weight (cm)


@dataclass(frozen=True)
class Ellipsoid:
    """Centre and half axes in cm; `tilt` rotates the axes in the image plane (radians, clockwise)."""

    x: float
    y: float
    z: float
    a: float
    b: float
    c: float
    tilt: float = 0.0


class Canvas:
    """Pixel grid of a square image of `field_cm`, corrected for the patient's lean (a shift of x per row)."""

    def __init__(self, size: int, field_cm: float, lean: Callable[[FloatArray], FloatArray]) -> None:
        self.size = size
        self.field = field_cm
        self.scale = size / field_cm
        axis = ((np.arange(size) + 0.5) / self.scale).astype(np.float32)
        self.rows: FloatArray = axis
        self.y: FloatArray = axis[:, None]
        self._lean = lean
        self.x: FloatArray = (axis[None, :] - field_cm / 2) - lean(axis)[:, None]

    def zeros(self) -> FloatArray:
        return np.zeros((self.size, self.size), np.float32)

    def to_pixels(self, points: FloatArray) -> FloatArray:
        """(N, 2) centimetres -> (N, 2) pixel coordinates (column, row)."""
        pts = np.asarray(points, np.float32)
        columns = (pts[:, 0] + self._lean(pts[:, 1]) + self.field / 2) * self.scale - 0.5
        return np.stack([columns, pts[:, 1] * self.scale - 0.5], axis=1).astype(np.float32)

    def window(self, pixels: FloatArray, margin: float) -> tuple[slice, slice] | None:
        """The (row, column) slices around `pixels`, clipped to the image; None where they are outside."""
        low = np.floor(pixels.min(axis=0) - margin).astype(int)
        high = np.ceil(pixels.max(axis=0) + margin).astype(int) + 1
        left, top = (max(int(v), 0) for v in low)
        right, bottom = (min(int(v), self.size) for v in high)
        if left >= right or top >= bottom:
            return None
        return slice(top, bottom), slice(left, right)

    def box_window(self, x: float, y: float, reach: float) -> tuple[slice, slice] | None:
        """The window of a square of half side `reach` cm around (x, y) cm; the margin covers the lean inside it."""
        return self.window(self.to_pixels(np.array([[x, y]])), (reach * 1.15 + 0.1) * self.scale)

    def half_chord(self, body: Ellipsoid) -> tuple[tuple[slice, slice], FloatArray] | None:
        """Half the path length of the beam through an ellipsoid, and the window of the image that it covers."""
        window = self.box_window(body.x, body.y, max(body.a, body.b))
        if window is None:
            return None
        dx, dy = self.x[window] - body.x, self.y[window[0]] - body.y
        cos, sin = np.float32(np.cos(body.tilt)), np.float32(np.sin(body.tilt))
        u, v = (dx * cos + dy * sin) / body.a, (dy * cos - dx * sin) / body.b
        return window, body.c * np.sqrt(np.maximum(1 - u * u - v * v, 0))


def add_tube(
    canvas: Canvas,
    target: FloatArray,
    points: FloatArray,
    radius: Sequence[float] | FloatArray,
    weight: Sequence[float] | FloatArray,
    *,
    hollow: float = 0.0,
    marrow: float = 0.55,
) -> None:
    """Add the path length through a curved tube to `target`.

    Where segments of the tube meet, only the nearest one counts, so that joints do not show as beads.

    Args:
        points: (N, 2) cm.
        radius: (N,) cm in the image plane.
        weight: (N,) cm along the beam at the axis.
        hollow: the marrow's share of the radius; 0 for a solid tube.
        marrow: by how much the marrow reduces the weight.
    """
    pixels = canvas.to_pixels(points)
    radii = np.maximum(np.asarray(radius, np.float32) * canvas.scale, 0.35)
    weights = np.asarray(weight, np.float32)
    window = canvas.window(pixels, float(radii.max()) + 1)
    if window is None:
        return
    nearest = np.ones(target[window].shape, np.float32)
    depth = np.zeros_like(nearest)
    # Plain numbers, because the overhead of arrays dominates for thousands of small segments.
    local = pixels - np.array([window[1].start, window[0].start], np.float32)
    nodes = [*zip(local[:, 0].tolist(), local[:, 1].tolist(), radii.tolist(), weights.tolist(), strict=True)]
    for start, end in pairwise(nodes):
        _segment(nearest, depth, start, end)
    profile = np.sqrt(np.maximum(1 - nearest, 0))
    if hollow:
        profile -= marrow * np.sqrt(np.maximum(hollow * hollow - nearest, 0))
    target[window] += profile * depth


def _segment(nearest: FloatArray, depth: FloatArray, start: Node, end: Node) -> None:
    """Keep, per pixel, the smallest squared distance to the axis (in radii) and the weight that belongs to it."""
    (x0, y0, r0, w0), (x1, y1, r1, w1) = start, end
    reach = max(r0, r1) + 1
    left, top = max(floor(min(x0, x1) - reach), 0), max(floor(min(y0, y1) - reach), 0)
    right = min(ceil(max(x0, x1) + reach) + 1, nearest.shape[1])
    bottom = min(ceil(max(y0, y1) + reach) + 1, nearest.shape[0])
    if left >= right or top >= bottom:
        return
    dx, dy = x1 - x0, y1 - y0
    length = max(dx * dx + dy * dy, 1e-6)
    columns = np.arange(left - x0, right - x0 - 0.5, dtype=np.float32)[None, :]
    lines = np.arange(top - y0, bottom - y0 - 0.5, dtype=np.float32)[:, None]
    t = columns * (dx / length) + lines * (dy / length)
    np.maximum(t, 0, out=t)
    np.minimum(t, 1, out=t)
    gap_x, gap_y = columns - t * dx, lines - t * dy
    r = r0 + t * (r1 - r0)
    squared = (gap_x * gap_x + gap_y * gap_y) / (r * r)
    here = nearest[top:bottom, left:right]
    closer = squared < here
    np.copyto(here, squared, where=closer)
    np.copyto(depth[top:bottom, left:right], w0 + t * (w1 - w0), where=closer)


def smooth_curve(points: Sequence[Sequence[float]], count: int) -> FloatArray:
    """`count` points along a Catmull-Rom spline through `points` (N, D)."""
    pts = np.asarray(points, np.float64)
    padded = np.concatenate([2 * pts[:1] - pts[1:2], pts, 2 * pts[-1:] - pts[-2:-1]])
    t = np.linspace(0, len(pts) - 1, count)
    i = np.minimum(t.astype(int), len(pts) - 2)
    f = (t - i)[:, None]
    p0, p1, p2, p3 = (padded[i + k] for k in range(4))
    cubic = 2 * p1 + (p2 - p0) * f + (2 * p0 - 5 * p1 + 4 * p2 - p3) * f**2 + (3 * p1 - p0 - 3 * p2 + p3) * f**3
    return (cubic / 2).astype(np.float32)


def blur(image: FloatArray, sigma: float) -> FloatArray:
    """Gaussian blur of a 2-D float image; `sigma` in pixels. A wide one is computed on a reduced copy."""
    if sigma < 0.2:
        return image
    factor = int(sigma // 2.5)
    if factor > 1:
        rows, columns = image.shape
        small = Image.fromarray(image).resize((max(columns // factor, 4), max(rows // factor, 4)), Image.Resampling.BOX)
        soft = _convolve(np.asarray(small, np.float32), sigma / factor)
        return np.asarray(Image.fromarray(soft).resize((columns, rows), Image.Resampling.BICUBIC), np.float32)
    return _convolve(image, sigma)


def _convolve(image: FloatArray, sigma: float) -> FloatArray:
    reach = max(int(np.ceil(2.5 * sigma)), 1)
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    taps = (taps / taps.sum()).astype(np.float32)
    for axis in (0, 1):
        pad = [(0, 0), (0, 0)]
        pad[axis] = (reach, reach)
        padded = np.pad(image, pad, mode="edge")
        length = image.shape[axis]
        parts = (padded[k : k + length] if axis == 0 else padded[:, k : k + length] for k in range(len(taps)))
        total = np.zeros_like(image)
        for tap, part in zip(taps, parts, strict=True):
            total += tap * part
        image = total
    return image

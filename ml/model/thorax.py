"""Where the network's input shows the thorax, so that a map can say what lies outside of it.

A template of the chest, the mean of 1,065 films, is compared with the image at many positions and sizes; the outline
drawn on the template is carried over from where it fits best. No network takes part, for the region must not share the
errors of the maps that it checks.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

SIDE = 32
"""Rows and columns of template and region."""

TEMPLATE = Path(__file__).with_name("thorax_template.png")
"""Mean of the films of the train_val list of the sample of NIH ChestX-ray14 (`recipes/thorax_template.py`)."""

# Read on import, because the sandboxed child that needs it can open no file.
_TEMPLATE = np.asarray(Image.open(TEMPLATE), dtype=np.float32)

# Lungs, heart and mediastinum with a margin of 4 %: (x, y) on the template, as shares of its sides.
_OUTLINE = (
    (0.37, 0.07), (0.63, 0.07), (0.77, 0.19), (0.84, 0.38), (0.88, 0.58), (0.90, 0.78),
    (0.50, 0.80), (0.11, 0.78), (0.12, 0.58), (0.16, 0.38), (0.23, 0.19),
)  # fmt: skip
_SCALES = (0.7, 0.8, 0.9, 1.0, 1.1, 1.2)
_SHIFTS = (-0.15, -0.1, -0.05, 0.0, 0.05, 0.1, 0.15)
_WINDOW = 4.0
"""Standard deviation, in cells, of the window in which brightness and contrast are evened out."""

MIN_CORRELATION = 0.55
_EMPTY = 6


@dataclass(frozen=True, eq=False)
class Thorax:
    """The region uint8 (SIDE, SIDE), 1 inside; without a thorax that was found it is the body without empty borders."""

    mask: NDArray[np.uint8]
    is_found: bool


@dataclass(frozen=True, eq=False)
class _Poses:
    """The template at A x A positions and sizes, A = scales x shifts of one axis.

    Attributes:
        axes: (A, SIDE, SIDE), the weights that move and scale the template along one axis.
        known: (A, SIDE), 1 where the moved template covers the image.
        templates: (A x A, SIDE x SIDE), the moved template, 0 where it covers nothing.
        norms: (A x A,) of those.
        outline: (SIDE, SIDE), the share of each cell of the template inside the thorax.
    """

    axes: NDArray[np.float32]
    known: NDArray[np.float32]
    templates: NDArray[np.float32]
    norms: NDArray[np.float32]
    outline: NDArray[np.float32]


def find_thorax(square: NDArray[np.uint8]) -> Thorax:
    """Find the thorax in the network's input uint8 (S, S)."""
    small = np.asarray(Image.fromarray(square).resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.float32)
    evened, body, poses = _evened(small), _body(small), _poses()
    # The correlation of each moved template with the part of the image that it covers.
    covered = np.sqrt(poses.known @ (evened * evened) @ poses.known.T).ravel()
    correlation = poses.templates @ evened.ravel() / (poses.norms * covered + 1e-6)
    best = int(correlation.argmax())
    if correlation[best] < MIN_CORRELATION:
        return Thorax(body, False)
    down, across = divmod(best, len(poses.axes))
    region = poses.axes[down] @ poses.outline @ poses.axes[across].T
    region *= np.outer(poses.known[down], poses.known[across])
    return Thorax(body * (region >= 0.5).astype(np.uint8), True)


def share_inside(mask: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.float16]:
    """The share of each cell of a map (h, w) that lies inside the region `mask`, 0 to 1."""
    height, width = shape
    region = Image.fromarray(mask.astype(np.float32)).resize((width, height), Image.Resampling.BOX)
    return np.asarray(region, dtype=np.float16)


def _evened(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """The image without its local mean and with equal local contrast: exposure and borders lose their weight."""
    window = _window()
    centred = image - window @ image @ window.T
    return np.asarray(centred / (np.sqrt(window @ (centred * centred) @ window.T) + 6.0), dtype=np.float32)


@cache
def _window() -> NDArray[np.float32]:
    step = np.arange(SIDE)[:, None] - np.arange(SIDE)[None, :]
    weight = np.exp(-(step**2) / (2 * _WINDOW**2))
    return np.asarray(weight / weight.sum(axis=1, keepdims=True), dtype=np.float32)


@cache
def _poses() -> _Poses:
    template = _evened(_TEMPLATE)
    fine = Image.new("L", (SIDE * 8, SIDE * 8))
    ImageDraw.Draw(fine).polygon([(x * SIDE * 8, y * SIDE * 8) for x, y in _OUTLINE], fill=255)
    outline = np.asarray(fine.resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.float32) / np.float32(255)
    moves = [_axis(scale, shift) for scale in _SCALES for shift in _SHIFTS]
    axes, known = (np.stack(each).astype(np.float32) for each in zip(*moves, strict=True))
    moved = (axes * known[..., None])[:, None] @ template @ (axes * known[..., None]).transpose(0, 2, 1)[None]
    templates = np.ascontiguousarray(moved.reshape(len(axes) ** 2, SIDE * SIDE))
    return _Poses(axes, known, templates, np.linalg.norm(templates, axis=1).astype(np.float32), outline)


def _axis(scale: float, shift: float) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Bilinear weights (SIDE, SIDE) that scale the template about its middle and shift it; which cells it covers."""
    place = (((np.arange(SIDE) + 0.5) / SIDE - 0.5 - shift) / scale + 0.5) * SIDE - 0.5
    inside = np.clip(place, 0, SIDE - 1)
    low = np.minimum(inside.astype(np.intp), SIDE - 2)
    weights = np.zeros((SIDE, SIDE), dtype=np.float32)
    rows = np.arange(SIDE)
    weights[rows, low] = 1 - (inside - low)
    weights[rows, low + 1] = inside - low
    return weights, (place > -1) & (place < SIDE)


def _body(small: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Without what is connected with the border and empty: black or white, and even."""
    even = (small < _EMPTY) | (small > 255 - _EMPTY)
    reached = np.zeros((SIDE + 2, SIDE + 2), dtype=bool)
    reached[[0, -1], :] = reached[:, [0, -1]] = True
    inner, count = reached[1:-1, 1:-1], -1
    while count != (count := int(inner.sum())):
        near = reached[:-2, 1:-1] | reached[2:, 1:-1] | reached[1:-1, :-2] | reached[1:-1, 2:]
        inner |= even & near
    return np.asarray(~inner, dtype=np.uint8)

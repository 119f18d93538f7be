"""Read the Display Shutter (PS3.3 C.7.6.11); pixels outside are not shown and not used for the grey scale."""

import re
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ml.dicom.parser import DicomIndex

LEAST_VISIBLE: Final = 0.02
"""A shutter that leaves less than this share of the image is taken as an error of the sender."""

_SHAPE, _PRESENTATION_VALUE = 0x00181600, 0x00181622
_LEFT, _RIGHT, _UPPER, _LOWER = 0x00181602, 0x00181604, 0x00181606, 0x00181608
_CENTRE, _RADIUS, _VERTICES = 0x00181610, 0x00181612, 0x00181620
_MAX_TEXT = 1 << 16
_MAX_VERTICES = 4096
_MAX_COORDINATE = 1 << 17
_INTEGER = re.compile(r"[+-]?\d{1,9}")

Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False, slots=True)
class Shutter:
    """`hidden` (rows, columns) is True outside; `grey` (0..255) is displayed there."""

    hidden: Mask
    grey: int

    def cover(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A copy of the image with `grey` in the hidden pixels."""
        return np.where(self.hidden, np.uint8(self.grey), image)


def read_shutter(index: DicomIndex, rows: int, columns: int, ratio: float = 1.0) -> Shutter | None:
    """Read the shutter of an image of `rows` x `columns` stored pixels that are `ratio` times as high as wide.

    With several shapes, only pixels inside all of them are visible. Coordinates count from 1 and include the edge; the
    radius is in pixels along a row. A shape that can't be understood is ignored with a warning. The whole shutter is
    ignored where it would hide nearly everything.

    Returns:
        None where nothing is hidden.
    """
    names = [name.strip(" \0").upper() for name in index.text(_SHAPE).split("\\")]
    if not any(names):
        return None
    hidden = np.zeros((rows, columns), np.bool_)
    for name in dict.fromkeys(names):
        outside = _outside(index, name, rows, columns, ratio)
        if outside is None:
            index.warn("shutter-invalid")
        else:
            hidden |= outside
    if not hidden.any():
        return None
    if hidden.mean() > 1 - LEAST_VISIBLE:
        index.warn("shutter-invalid")
        return None
    # Shutter Presentation Value is a P-Value from 0 (black) to FFFFH (white).
    return Shutter(hidden, (index.unsigned(_PRESENTATION_VALUE) or 0) >> 8)


def _outside(index: DicomIndex, name: str, rows: int, columns: int, ratio: float) -> Mask | None:
    if name == "RECTANGULAR":
        return _outside_rectangle(index, rows, columns)
    if name == "CIRCULAR":
        return _outside_circle(index, rows, columns, ratio)
    if name == "POLYGONAL":
        return _outside_polygon(index, rows, columns)
    return None


def _outside_rectangle(index: DicomIndex, rows: int, columns: int) -> Mask | None:
    edges = [_integers(index, tag) for tag in (_LEFT, _RIGHT, _UPPER, _LOWER)]
    if any(len(edge) != 1 for edge in edges):
        return None
    (left,), (right,), (upper,), (lower,) = edges
    if left > right or upper > lower:
        return None
    hidden = np.ones((rows, columns), np.bool_)
    hidden[max(upper - 1, 0) : max(lower, 0), max(left - 1, 0) : max(right, 0)] = False
    return hidden


def _outside_circle(index: DicomIndex, rows: int, columns: int, ratio: float) -> Mask | None:
    centre, radius = _integers(index, _CENTRE), _integers(index, _RADIUS)
    if len(centre) != 2 or len(radius) != 1 or radius[0] < 1:
        return None
    down = (np.arange(1, rows + 1, dtype=np.float64) - centre[0]) * ratio
    across = np.arange(1, columns + 1, dtype=np.float64) - centre[1]
    return down[:, None] ** 2 + across[None, :] ** 2 > float(radius[0]) ** 2


def _outside_polygon(index: DicomIndex, rows: int, columns: int) -> Mask | None:
    flat = _integers(index, _VERTICES)
    if len(flat) < 6 or len(flat) % 2 or len(flat) > 2 * _MAX_VERTICES:
        return None
    if max(map(abs, flat)) > _MAX_COORDINATE:
        return None
    corners: list[Any] = [(column - 1, row - 1) for row, column in zip(flat[::2], flat[1::2], strict=True)]
    visible = Image.new("1", (columns, rows))
    ImageDraw.Draw(visible).polygon(corners, fill=1, outline=1)
    return ~np.asarray(visible)


def _integers(index: DicomIndex, tag: int) -> list[int]:
    """The values of an IS; empty where one of them is not an integer."""
    raw = index.value(tag)[:_MAX_TEXT].decode("latin-1")
    values = [value.strip(" \0") for value in raw.split("\\")]
    return [int(value) for value in values] if all(_INTEGER.fullmatch(value) for value in values) else []

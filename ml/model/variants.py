"""Small changes of an image that must not change a reading: mirrored, and zoomed by a tenth."""

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image

ZOOM = 1.1

Squares = NDArray[np.uint8]


def mirrored(squares: Squares) -> Squares:
    """Images (N, S, S) with left and right exchanged."""
    return squares[:, :, ::-1]


def zoomed(squares: Squares, factor: float) -> Squares:
    """Images (N, S, S) enlarged around their centre; with a factor below 1 they get a black border."""
    size = squares.shape[-1]
    edge = size * (1 - 1 / factor) / 2
    if factor >= 1:
        return _resized(squares, size, (edge, edge, size - edge, size - edge))
    small = round(size * factor)
    before = (size - small) // 2
    after = size - small - before
    return np.pad(_resized(squares, small, (0, 0, size, size)), ((0, 0), (before, after), (before, after)))


def _resized(squares: Squares, size: int, box: tuple[float, float, float, float]) -> Squares:
    pictures = (Image.fromarray(square).resize((size, size), Image.Resampling.BILINEAR, box) for square in squares)
    return np.stack([np.asarray(picture) for picture in pictures])


VARIANTS: dict[str, Callable[[Squares], Squares]] = {"mirrored": mirrored, "zoomed in": partial(zoomed, factor=ZOOM)}
"""Zoomed out, an image has a border that it did not have: networks that were not fitted on it change more calls."""

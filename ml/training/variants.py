"""Small changes of an image that must not change a reading: mirrored, and zoomed by a tenth."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from ml.data.shards import ImageArray
from ml.model.networks import CamNetwork
from ml.model.transforms import InputSpace
from ml.training.forward import run

ZOOM = 1.1

Squares = NDArray[np.uint8]


def mirrored(squares: Squares) -> Squares:
    """Images (N, S, S) with left and right exchanged."""
    return squares[:, :, ::-1]


def zoomed(squares: Squares, factor: float) -> Squares:
    """Images (N, S, S) enlarged around their centre; with a factor below 1 they get a black border."""
    size = squares.shape[-1]
    inner = round(size / factor)
    if factor >= 1:
        edge = (size - inner) // 2
        return _resized(squares[:, edge : edge + inner, edge : edge + inner], size)
    small = round(size * factor)
    before = (size - small) // 2
    after = size - small - before
    return np.pad(_resized(squares, small), ((0, 0), (before, after), (before, after)))


def _resized(squares: Squares, size: int) -> Squares:
    grey = torch.from_numpy(np.ascontiguousarray(squares))[:, None].float()
    smooth = functional.interpolate(grey, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
    return np.asarray(smooth[:, 0].round().clamp(0, 255).byte().numpy())


VARIANTS: dict[str, Callable[[Squares], Squares]] = {"mirrored": mirrored, "zoomed in": partial(zoomed, factor=ZOOM)}
"""Zoomed out, an image has a border that it did not have: networks that were not fitted on it change more calls."""


def varied_logits(
    network: CamNetwork,
    squares: ImageArray,
    space: InputSpace,
    indices: NDArray[np.intp] | None = None,
    batch_size: int = 32,
) -> list[NDArray[np.float32]]:
    """Logits (N, L) of the images under each of VARIANTS."""
    return [
        run(network, squares, space, batch_size, indices, progress=f"Films, {name}", change=change).logits
        for name, change in VARIANTS.items()
    ]

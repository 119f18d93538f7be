"""Shrink an image with a Gaussian filter and bilinear sampling, as scikit-image's `resize` does, without scikit-image.

TorchXRayVision trained its networks on images that were shrunk in this way; another filter changes their outputs.
"""

import math

import numpy as np
from numpy.typing import NDArray

TRUNCATE = 4.0
MID_GREY = 127.5
"""Value outside the image: the original pads with 0 in its range -1024..1024."""


def gaussian_resize(pixels: NDArray[np.uint8], rows: int, columns: int) -> NDArray[np.uint8]:
    """Resize uint8 (h, w) to uint8 (rows, columns).

    Sigma is (factor - 1) / 2 along an axis that shrinks, else 0. Where the image shrinks, the result is within half a
    grey level of `skimage.transform.resize(..., mode="constant")` around mid grey.
    """
    turned = _along_rows(pixels, rows).T
    return np.asarray(np.rint(np.clip(_along_rows(turned, columns).T, 0.0, 255.0)), np.uint8)


def _along_rows(values: NDArray[np.generic], count: int) -> NDArray[np.float32]:
    """Resize along the first axis. Each output row converts and sums only the source rows that it needs, for speed."""
    length = len(values)
    factor = length / count
    kernel = _gaussian((factor - 1.0) / 2.0 if factor > 1.0 else 0.0)
    reach = len(kernel) // 2
    result = np.empty((count, values.shape[1]), np.float32)
    for index in range(count):
        position = min(max((index + 0.5) * factor - 0.5, 0.0), length - 1.0)
        low = int(position)
        part = position - low
        taps = np.zeros(len(kernel) + 1)
        taps[:-1] += (1.0 - part) * kernel
        taps[1:] += part * kernel
        first = low - reach
        start, stop = max(first, 0), min(first + len(taps), length)
        inside = taps[start - first : stop - first].astype(np.float32)
        if not reach:
            # Without a kernel the last row has no neighbour below, and none is missing.
            inside /= inside.sum()
        result[index] = inside @ values[start:stop].astype(np.float32) + np.float32(MID_GREY * (1.0 - inside.sum()))
    return result


def _gaussian(sigma: float) -> NDArray[np.float64]:
    if sigma <= 0.0:
        return np.ones(1)
    reach = int(TRUNCATE * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return np.asarray(weights / math.fsum(weights.tolist()))

"""Resample images whose pixels are not square (PS3.3 C.7.6.3.1.7) to square pixels."""

import re
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ml.dicom.image_layout import MAX_PIXELS, MAX_SIDE
from ml.dicom.image_warnings import ImageWarning, image_warning

TOLERANCE = 0.005
"""A ratio that differs from 1 by at most this counts as square, because spacings are rounded decimals."""
LARGEST_RATIO = 8.0
SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")

_NUMBER = re.compile(r"\+?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")


def pixel_ratio(texts: Mapping[str, str]) -> tuple[float, ImageWarning | None]:
    """Height of a pixel divided by its width, from attributes as text by DICOM keyword.

    Pixel Spacing, Imager Pixel Spacing and Nominal Scanned Pixel Spacing are used first, in that order, because Pixel
    Aspect Ratio is only for images without them. The ratio is 1.0 where all are absent, and also, with a warning, where
    they can't be understood.
    """
    aspect, is_odd = _ratio(texts.get("PixelAspectRatio", ""))
    for keyword in SPACINGS:
        spacing, is_bad = _ratio(texts.get(keyword, ""))
        if spacing is not None:
            differs = aspect is not None and abs(aspect / spacing - 1) > 2 * TOLERANCE
            return _one_if_close(spacing), image_warning("pixel-aspect-contradiction") if differs else None
        is_odd |= is_bad
    return _one_if_close(aspect or 1.0), image_warning("pixel-aspect-invalid") if is_odd else None


def square_size(rows: int, columns: int, ratio: float) -> tuple[int, int]:
    """Rows and columns with square pixels: the coarser axis gets more pixels, within MAX_SIDE and MAX_PIXELS."""
    height, width = rows * max(ratio, 1.0), columns * max(1.0 / ratio, 1.0)
    shrink = min(1.0, MAX_SIDE / height, MAX_SIDE / width, (MAX_PIXELS / (height * width)) ** 0.5)
    return max(1, int(height * shrink + 0.5)), max(1, int(width * shrink + 0.5))


def with_square_pixels(image: NDArray[np.uint8], ratio: float) -> NDArray[np.uint8]:
    """Resample an image (rows, columns), whose pixels are `ratio` times as high as wide, bilinearly."""
    if ratio == 1.0:
        return image
    rows, columns = square_size(image.shape[0], image.shape[1], ratio)
    return np.asarray(Image.fromarray(image).resize((columns, rows), Image.Resampling.BILINEAR))


def _one_if_close(ratio: float) -> float:
    return 1.0 if abs(ratio - 1.0) <= TOLERANCE else ratio


def _ratio(text: str) -> tuple[float | None, bool]:
    """Vertical divided by horizontal, and whether the text can't be understood."""
    values = [value.strip(" \0") for value in text.split("\\")]
    if not any(values):
        return None, False
    numbers = [float(value) for value in values if len(value) <= 32 and _NUMBER.fullmatch(value)]
    if len(values) != 2 or len(numbers) != 2 or not all(1e-9 < number < 1e9 for number in numbers):
        return None, True
    ratio = numbers[0] / numbers[1]
    return (ratio, False) if 1 / LARGEST_RATIO <= ratio <= LARGEST_RATIO else (None, True)

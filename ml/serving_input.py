"""What a sandboxed child does for serving: one stored file to the network's input, or to a PNG for the page."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ml.consistency import looks_negative
from ml.image_warnings import ImageWarning, image_warning
from ml.radiograph import Radiograph, read_radiograph
from ml.transforms import InputSpace, to_square

DISPLAY_VERSION = 2
"""Goes up when the same file gives another picture, so that pictures that were kept are drawn anew."""


@dataclass(frozen=True, slots=True)
class LoadedInput:
    """`tensor_u8` is (size, size) uint8, fitted by `ml.transforms.to_square`; `rows` and `columns` are those of the
    picture that a reader sees (`ml.radiograph.Radiograph`), which heatmaps are drawn for."""

    tensor_u8: NDArray[np.uint8]
    rows: int
    columns: int
    photometric: str
    voi: str
    warnings: tuple[ImageWarning, ...]


def load_input(path: str, input_space: Mapping[str, Any]) -> LoadedInput:
    """Read a DICOM, PNG or JPEG file and fit it to `input_space` (`InputSpace.to_dict()`). Raises InputRejected."""
    return fit_input(read_radiograph(Path(path)), input_space)


def load_input_bytes(data: bytes, input_space: Mapping[str, Any]) -> LoadedInput:
    """`load_input` for a file that is held in memory and stored nowhere. Raises InputRejected."""
    return fit_input(read_radiograph(data), input_space)


def fit_input(film: Radiograph, input_space: Mapping[str, Any]) -> LoadedInput:
    """The network's input for a film already read."""
    square = to_square(film.pixels, InputSpace.from_dict(input_space))
    negative = (image_warning("polarity-suspect"),) if looks_negative(square) else ()
    return LoadedInput(square, film.rows, film.columns, film.photometric, film.voi, (*film.warnings, *negative))


def render_png(path: str, max_side: int) -> bytes:
    """The film as an 8-bit grey PNG, shrunk (never enlarged) so that neither side exceeds `max_side` pixels.

    Raises InputRejected, and ValueError for a `max_side` below 1.
    """
    if max_side < 1:
        raise ValueError("max_side must be at least 1 pixel")
    film = read_radiograph(Path(path))
    image = Image.fromarray(film.pixels)
    scale = max_side / max(image.size)
    if scale < 1:
        width, height = (max(1, round(side * scale)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BOX)
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=1)
    return out.getvalue()

"""Functions that a sandboxed child runs for serving: a stored file to the network's input, or to a picture to show."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ml.dicom.consistency import looks_inverted
from ml.dicom.image_layout import MAX_PIXELS, MAX_SIDE
from ml.dicom.image_warnings import CODES, ImageWarning, image_warning
from ml.dicom.pixel_aspect import LARGEST_RATIO
from ml.dicom.radiograph import Radiograph, read_radiograph
from ml.dicom.source import Source
from ml.model.thorax import SIDE, find_thorax
from ml.model.transforms import InputSpace, to_square
from ml.sandbox.wire import contract

DISPLAY_VERSION = 2
"""Increased when the same file gives another picture, so that cached pictures are rendered again."""


@dataclass(frozen=True, slots=True)
class LoadedInput:
    """The network's input and a description of the image.

    Attributes:
        tensor_u8: uint8 (size, size), made by `ml.model.transforms.to_square`.
        rows, columns: size of the displayed picture (`ml.dicom.radiograph.Radiograph`), for which heatmaps are drawn.
        photometric, voi: see `Radiograph`.
        warnings: of the image.
        thorax: uint8 (SIDE, SIDE), 1 where the input shows the thorax (`ml.model.thorax`).
    """

    tensor_u8: NDArray[np.uint8]
    rows: int
    columns: int
    photometric: str
    voi: str
    warnings: tuple[ImageWarning, ...]
    thorax: NDArray[np.uint8]


def _accept_input(
    reply: Mapping[str, Any], _: Source, input_space: Mapping[str, Any], stored_size: Sequence[int] = ()
) -> LoadedInput:
    """Check a child's reply against the input space and against the size that the preflight found."""
    square, size = reply["tensor_u8"], InputSpace.from_dict(input_space).size
    if not isinstance(square, np.ndarray) or square.dtype != np.uint8 or square.shape != (size, size):
        raise ValueError("not a square of the requested size")
    rows, columns = reply["rows"], reply["columns"]
    if not all(type(side) is int and 1 <= side <= MAX_SIDE for side in (rows, columns)):
        raise ValueError("not a size of a picture")
    if stored_size and not _can_become(tuple(stored_size), (rows, columns)):
        raise ValueError("not the size of this image")
    warnings = tuple(ImageWarning(each["code"], each["detail"]) for each in reply["warnings"])
    if not all(each.code in CODES and isinstance(each.detail, str) for each in warnings):
        raise ValueError("not the warnings of an image")
    thorax = reply["thorax"]
    if not isinstance(thorax, np.ndarray) or thorax.dtype != np.uint8 or thorax.shape != (SIDE, SIDE):
        raise ValueError("not a region of the input")
    return LoadedInput(square, rows, columns, str(reply["photometric"]), str(reply["voi"]), warnings, thorax)


def _can_become(stored: tuple[int, ...], shown: tuple[int, int]) -> bool:
    """Whether an image of the stored size can have the shown one, after rotation and resampling to square pixels."""
    return any(
        all(0.9 <= after / before <= 1.1 * LARGEST_RATIO for before, after in zip(stored, sides, strict=True))
        or max(shown) == MAX_SIDE
        or shown[0] * shown[1] > 0.9 * MAX_PIXELS
        for sides in (shown, shown[::-1])
    )


def _square_bytes(_: Source, input_space: Mapping[str, Any], *__: Any) -> int:
    return int(InputSpace.from_dict(input_space).size ** 2) + SIDE * SIDE


@contract(_accept_input, _square_bytes)
def load_input(source: Source, input_space: Mapping[str, Any], stored_size: Sequence[int] = ()) -> LoadedInput:
    """Read a DICOM, PNG or JPEG file and fit it to the network's input.

    Args:
        source: the file.
        input_space: `InputSpace.to_dict()`.
        stored_size: rows and columns that the preflight found; the sandbox's parent checks the reply against them.

    Raises:
        InputRejected: the file can't be read.
    """
    return fit_input(read_radiograph(source), input_space)


def fit_input(image: Radiograph, input_space: Mapping[str, Any]) -> LoadedInput:
    """The network's input for an image that is already decoded."""
    square = to_square(image.pixels, InputSpace.from_dict(input_space))
    thorax = find_thorax(square)
    suspect = [
        *(["polarity-suspect"] if looks_inverted(square) else []),
        *([] if thorax.is_found else ["thorax-not-found"]),
    ]
    warnings = (*image.warnings, *map(image_warning, suspect))
    return LoadedInput(square, image.rows, image.columns, image.photometric, image.voi, warnings, thorax.mask)


def _accept_grey(reply: Any, _: Source, max_side: int) -> NDArray[np.uint8]:
    if not isinstance(reply, np.ndarray) or reply.dtype != np.uint8 or reply.ndim != 2:
        raise ValueError("not a grey picture")
    if not 1 <= min(reply.shape) <= max(reply.shape) <= max_side:
        raise ValueError("not a picture of the requested size")
    return reply


@contract(_accept_grey, lambda _, max_side: max_side**2)
def render_grey(source: Source, max_side: int) -> NDArray[np.uint8]:
    """The displayed picture, uint8 (rows, columns), shrunk where a side is longer than `max_side` pixels.

    Raises:
        InputRejected: the file can't be read.
        ValueError: `max_side` is below 1.
    """
    if max_side < 1:
        raise ValueError("max_side must be at least 1 pixel")
    image = Image.fromarray(read_radiograph(source).pixels)
    scale = max_side / max(image.size)
    if scale < 1:
        width, height = (max(1, round(side * scale)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BOX)
    return np.asarray(image)

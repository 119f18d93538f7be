"""Validates images that a caller preprocessed: a NumPy array file (NEP 1) in a version's input space."""

import io
import zlib
from typing import Final

import numpy as np
from numpy.typing import NDArray

from apps.core.errors import InvalidInputError, TooLargeError
from apps.registry import engine

MAX_HEADER_BYTES: Final = 4096
# How far a grey value may lie outside the range from black to white, relative to that range. A sharper filter than ours
# overshoots a little. Values from other preprocessing are left to the input check; values of 0 to 255 do not pass.
OVERSHOOT: Final = 1.0
_DTYPE: Final = np.dtype("<f4")
_HOW: Final = "GET /api/v1/models/{name}/{number}/ describes the input"


def decompress_gzip(data: bytes, limit: int) -> bytes:
    """Decompress a gzip body (RFC 1952) of at most ``limit`` bytes.

    Raises:
        InvalidInputError: it is damaged.
        TooLargeError
    """
    inflater = zlib.decompressobj(wbits=31)
    try:
        inflated = inflater.decompress(data, limit + 1)
    except zlib.error as error:
        raise InvalidInputError("The body is not the gzip that Content-Encoding announces.", "gzip-invalid") from error
    if len(inflated) > limit:
        raise TooLargeError(f"The array may have {limit // 2**20} MiB at most: send fewer images at once.")
    if not inflater.eof:
        raise InvalidInputError("The gzip body was cut off.", "upload-cut-off")
    return inflated


def read_tensor(data: bytes, space: "engine.InputSpace", most: int) -> NDArray[np.float32]:
    """A ``.npy`` file with float32 (N, 3, size, size) in a version's input space, without a copy.

    Raises:
        InvalidInputError: it is no such file; the detail explains what is expected.
        TooLargeError: more than ``most`` images.
    """
    shape, offset = _header(data)
    if len(shape) != 4 or shape[1:] != (3, space.size, space.size):
        raise InvalidInputError(
            f"The array has the shape {_named(shape)}, and this version takes N × 3 × {space.size} × {space.size}: "
            f"{_HOW}.",
            "tensor-shape",
        )
    count = shape[0]
    if not count:
        raise InvalidInputError("The array has no image: send at least one.", "no-images")
    if count > most:
        raise TooLargeError(f"One request may have {most} images at most.", "too-many-images")
    size = count * 3 * space.size * space.size
    if len(data) - offset != size * _DTYPE.itemsize:
        raise InvalidInputError("The array's data is shorter or longer than its header says.", "npy-invalid")
    images = np.frombuffer(data, _DTYPE, size, offset).reshape(shape)
    _require_plausible(images, space)
    return images


def _header(data: bytes) -> tuple[tuple[int, ...], int]:
    """Shape and offset of the data. NumPy's own reader evaluates literals alone and never unpickles."""
    head = io.BytesIO(data[: MAX_HEADER_BYTES + 16])
    try:
        version = np.lib.format.read_magic(head)
        if version not in ((1, 0), (2, 0)):
            raise ValueError
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, is_fortran, dtype = read(head, max_header_size=MAX_HEADER_BYTES)
    # A hostile header can raise many exceptions, in the parser of literals or in the constructor of the dtype.
    except Exception as error:
        raise InvalidInputError("The body is not a NumPy array file (.npy, version 1 or 2).", "npy-invalid") from error
    if dtype != _DTYPE or is_fortran:
        given = f"{_type_name(dtype)} in {'Fortran' if is_fortran else 'C'} order"
        raise InvalidInputError(f"Send little-endian float32 in C order ('<f4'), not {given}: {_HOW}.", "tensor-type")
    return shape, head.tell()


def _type_name(dtype: "np.dtype") -> str:
    return dtype.str if dtype.fields is None else "a structured type"


def _named(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape[:6])) or "of a single number"


def _require_plausible(images: NDArray[np.float32], space: "engine.InputSpace") -> None:
    mean, std = np.asarray(space.mean), np.asarray(space.std)
    slack = OVERSHOOT / std
    low, high = -mean / std - slack, (1 - mean) / std + slack
    least, most = images.min(axis=(0, 2, 3)), images.max(axis=(0, 2, 3))
    # Every comparison with NaN is false, so an image with NaN does not pass.
    within = (least >= low) & (most <= high)
    if not within.all():
        channel = int(np.argmin(within))
        if np.isnan(least[channel]):
            raise InvalidInputError(f"Channel {channel} has values that are not numbers (NaN).", "tensor-values")
        raise InvalidInputError(
            f"Channel {channel} has values from {least[channel]:.4g} to {most[channel]:.4g}, and a film gives "
            f"{low[channel]:.4g} to {high[channel]:.4g} at the very most: scale its grey to 0..1, subtract the mean "
            f"and divide by the standard deviation of each channel. {_HOW[0].upper()}{_HOW[1:]}.",
            "tensor-values",
        )

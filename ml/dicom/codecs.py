"""Decode the frames of a parsed DICOM object to arrays of stored values, with the library imagecodecs (BSD-3)."""

import contextlib
import mmap
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.dicom.codec_headers import join, jp2_codestream_at, split_frames
from ml.dicom.image_layout import ImageLayout
from ml.dicom.parser import PIXEL_DATA, DicomIndex
from ml.dicom.transfer_syntaxes import JPEG, JPEG_2000, JPEG_LS, RLE
from ml.errors import InputRejected


def decode_frame(index: DicomIndex, layout: ImageLayout) -> NDArray[Any]:
    """Decode the first frame for display.

    Returns:
        Unsigned integers of `bits_allocated` bits; negative values are in two's complement. Grey: (rows, columns).
        Colour: (rows, columns, 3) RGB, or (rows, columns) for a YBR image, whose first component is the luminance.
        An uncompressed frame is a read-only view of the file.

    Raises:
        InputRejected: "decode-failed" for every error of the codec except MemoryError.
    """
    with _rejecting_errors():
        if not index.encapsulated:
            return _native_grey(_native(index, layout, 0), layout)
        data = join(index.buffer, list(layout.first_frame))
        if index.transfer_syntax_uid == RLE:
            return _grey(_arrange(_rle(data, layout), layout, planar=True), layout)
        return _container(_compressed(data, index.transfer_syntax_uid, layout), layout)


def stored_frames(index: DicomIndex, layout: ImageLayout) -> Iterator[NDArray[Any]]:
    """Decode every frame with all samples that are stored.

    Yields:
        (rows, columns) or (rows, columns, samples), unsigned integers as from `decode_frame`; an uncompressed
        YBR_FULL_422 frame as (rows, 2 * columns).

    Raises:
        InputRejected: a frame can't be decoded.
    """
    frames = split_frames(index, layout.frames) if index.encapsulated else []
    for number in range(layout.frames):
        with _rejecting_errors():
            if not index.encapsulated:
                flat = _native(index, layout, number)
                is_subsampled = layout.photometric == "YBR_FULL_422"
                frame = flat.reshape(layout.rows, -1) if is_subsampled else _arrange(flat, layout, layout.planar)
            elif index.transfer_syntax_uid == RLE:
                frame = _arrange(_rle(join(index.buffer, frames[number]), layout), layout, planar=True)
            else:
                data = join(index.buffer, frames[number])
                frame = _container(_compressed(data, index.transfer_syntax_uid, layout), layout)
        yield frame


@contextlib.contextmanager
def _rejecting_errors() -> Iterator[None]:
    try:
        yield
    except (InputRejected, MemoryError):
        raise
    except Exception as error:
        # The codec's message may quote the file, so only the class of the error is passed on.
        detail = (
            f"The pixels can't be decoded ({type(error).__name__}). Export the image again, or export it uncompressed."
        )
        raise InputRejected("decode-failed", detail) from error


def _native(index: DicomIndex, layout: ImageLayout, number: int) -> NDArray[Any]:
    """The samples of an uncompressed frame, in the file's order; `number` counts from 0."""
    (start, length), wide = layout.first_frame[0], layout.bits_allocated == 16
    order = ">" if index.big_endian else "<"
    buffer: bytes | mmap.mmap = index.buffer
    if not wide and index.big_endian and index.elements[PIXEL_DATA].vr == "OW":
        # PS3.5 section 8.2: OW holds two 8-bit samples in each 16-bit word, and here the words are big endian.
        words = np.frombuffer(buffer, "u2", index.elements[PIXEL_DATA].length // 2, start)
        return words.byteswap().view("u1")[number * length : (number + 1) * length]
    count = length // (2 if wide else 1)
    return np.frombuffer(buffer, f"{order}u2" if wide else "u1", count, start + number * length)


def _native_grey(flat: NDArray[Any], layout: ImageLayout) -> NDArray[Any]:
    if layout.photometric == "YBR_FULL_422":
        quads = flat.reshape(-1, 4)
        return np.ascontiguousarray(quads[:, :2]).reshape(layout.rows, layout.columns)
    return _grey(_arrange(flat, layout, layout.planar), layout)


def _arrange(flat: NDArray[Any], layout: ImageLayout, planar: bool) -> NDArray[Any]:
    """Reshape the samples of one frame to an image."""
    rows, columns, samples = layout.rows, layout.columns, layout.samples
    if samples == 1:
        return flat.reshape(rows, columns)
    return flat.reshape(samples, rows, columns).transpose(1, 2, 0) if planar else flat.reshape(rows, columns, samples)


def _grey(image: NDArray[Any], layout: ImageLayout) -> NDArray[Any]:
    """The Y plane of a YBR image, which is the luminance; any other image unchanged."""
    return image[:, :, 0] if layout.samples == 3 and layout.photometric.startswith("YBR") else image


def _rle(data: bytes, layout: ImageLayout) -> NDArray[Any]:
    import imagecodecs

    dtype = np.dtype(f"<u{layout.bits_allocated // 8}")
    count = layout.rows * layout.columns * layout.samples
    # With a buffer of the expected size, the decoder stops at a decompression bomb instead of allocating for it.
    out = bytearray(count * dtype.itemsize)
    decoded = imagecodecs.dicomrle_decode(data, dtype, out=out)
    return np.frombuffer(decoded, dtype, count)


def _compressed(data: bytes, transfer_syntax_uid: str, layout: ImageLayout) -> NDArray[Any]:
    import imagecodecs

    if transfer_syntax_uid in JPEG_2000:
        at = jp2_codestream_at(data)
        return imagecodecs.jpeg2k_decode(data[at:] if at else data, numthreads=1)
    if transfer_syntax_uid in JPEG_LS:
        return imagecodecs.jpegls_decode(data)
    if transfer_syntax_uid in JPEG:
        if layout.samples == 1:
            return imagecodecs.jpeg8_decode(data)
        space = "RGB" if layout.photometric == "RGB" else "YCBCR"
        return imagecodecs.jpeg8_decode(data, colorspace=space, outcolorspace="RGB")
    raise ValueError("no codec for this transfer syntax")


def _container(decoded: NDArray[Any], layout: ImageLayout) -> NDArray[Any]:
    """Check the shape of the decoder's array and convert it to unsigned integers of Bits Allocated bits."""
    expected = (layout.rows, layout.columns) if layout.samples == 1 else (layout.rows, layout.columns, 3)
    if decoded.shape != expected or decoded.dtype.kind not in "iu":
        raise ValueError("unexpected shape")
    width = layout.bits_allocated // 8
    if decoded.dtype.itemsize > width:
        raise ValueError("values wider than Bits Allocated")
    if decoded.dtype.itemsize != width:
        decoded = decoded.astype(f"{decoded.dtype.kind}{width}")
    return decoded.view(f"u{width}")

"""Read and check the Image Pixel module (PS3.3 C.7.6.3); refuse an object where it is incomplete or contradictory."""

import re
from dataclasses import dataclass, replace
from typing import Final

from ml.dicom.codec_headers import HEAD_BYTES, Codestream, check_rle, join, read_codestream, split_frames
from ml.dicom.parser import PIXEL_DATA, UNDEFINED, DicomIndex
from ml.dicom.transfer_syntaxes import RLE
from ml.errors import InputRejected

MAX_SIDE: Final = 16_384
MAX_PIXELS: Final = 100_000_000
MAX_FRAMES: Final = 20_000

_GREY = frozenset({"MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"})
_COLOUR_NATIVE = frozenset({"RGB", "YBR_FULL", "YBR_FULL_422"})
_COLOUR = _COLOUR_NATIVE | {"YBR_ICT", "YBR_RCT"}


MULTI_FRAME: Final = "multi-frame"
CODESTREAM_MISMATCH: Final = "codestream-mismatch"


@dataclass(frozen=True, slots=True)
class ImageLayout:
    """How the pixels are stored: sizes in pixels, bits per sample; `high_bit` counts from 0 (PS3.5 section 8.1.1).

    `unreadable` is the reason why an image is stored but must not be scored: MULTI_FRAME, or CODESTREAM_MISMATCH where
    the codestream and the data set differ about the meaning of a stored value (PS3.5 section 8.2.4). Else it is empty.
    """

    rows: int
    columns: int
    samples: int
    frames: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    photometric: str
    planar: bool
    first_frame: tuple[tuple[int, int], ...]
    unreadable: str = ""


def check_size(rows: int | None, columns: int | None) -> tuple[int, int]:
    """Check rows and columns against MAX_SIDE and MAX_PIXELS.

    Raises:
        InputRejected: a side is missing, zero or too large.
    """
    if not rows or not columns:
        raise InputRejected("image-size-invalid", "The image has no readable height or width. Export the file again.")
    if rows > MAX_SIDE or columns > MAX_SIDE or rows * columns > MAX_PIXELS:
        raise InputRejected(
            "image-size-invalid", f"Send at most {MAX_SIDE} pixels a side and {MAX_PIXELS // 1_000_000} million in all."
        )
    return rows, columns


def read_layout(index: DicomIndex) -> ImageLayout:
    """Read the layout and check everything that a decoder relies on, including the headers of compressed frames.

    Raises:
        InputRejected: the pixels are missing, or their description is incomplete or contradictory.
    """
    if PIXEL_DATA not in index.elements:
        raise InputRejected("pixel-data-missing", "The object has no pixels. Send the image itself.")
    rows, columns = check_size(index.unsigned(0x00280010), index.unsigned(0x00280011))
    frames = _frames(index)
    samples, photometric, planar = _colour(index)
    allocated, stored, high_bit, signed = _bits(index)
    layout = ImageLayout(rows, columns, samples, frames, allocated, stored, high_bit, signed, photometric, planar, ())
    unreadable = MULTI_FRAME if frames > 1 else ""
    if not index.encapsulated:
        return replace(layout, first_frame=_check_native(index, layout), unreadable=unreadable)
    first, is_ambiguous = _check_encapsulated(index, layout)
    return replace(layout, first_frame=first, unreadable=unreadable or (CODESTREAM_MISMATCH if is_ambiguous else ""))


def native_frame_bytes(layout: ImageLayout) -> int:
    """Bytes of one uncompressed frame; YBR_FULL_422 has two samples per pixel (PS3.3 C.7.6.3.1.2)."""
    samples = 2 if layout.photometric == "YBR_FULL_422" else layout.samples
    return layout.rows * layout.columns * samples * layout.bits_allocated // 8


def _frames(index: DicomIndex) -> int:
    text = index.text(0x00280008)
    if not text:
        return 1
    if not re.fullmatch(r"\+?[0-9]{1,12}", text) or not 1 <= int(text) <= MAX_FRAMES:
        raise InputRejected(
            "too-many-frames", f"Send a single-frame radiograph (at most {MAX_FRAMES} frames are stored)."
        )
    return int(text)


def _colour(index: DicomIndex) -> tuple[int, str, bool]:
    samples, photometric = index.unsigned(0x00280002), index.text(0x00280004)
    if samples == 1 and photometric in _GREY:
        return 1, photometric, False
    if samples == 3 and photometric in (_COLOUR if index.encapsulated else _COLOUR_NATIVE):
        planar = index.unsigned(0x00280006) or 0
        if planar > 1 or (planar and photometric == "YBR_FULL_422"):
            raise _format("has an unknown Planar Configuration")
        return 3, photometric, bool(planar)
    raise _format("has Samples per Pixel and a Photometric Interpretation that do not fit together")


def _bits(index: DicomIndex) -> tuple[int, int, int, bool]:
    allocated, stored = index.unsigned(0x00280100), index.unsigned(0x00280101)
    high_bit, representation = index.unsigned(0x00280102), index.unsigned(0x00280103)
    if allocated not in (8, 16):
        raise _format("has neither 8 nor 16 Bits Allocated")
    if stored is None or not 1 <= stored <= allocated:
        raise _format("has Bits Stored that do not fit Bits Allocated")
    if high_bit is None:
        index.warn("high-bit-absent")
        high_bit = stored - 1
    if not stored - 1 <= high_bit < allocated:
        raise _format("has a High Bit that does not fit Bits Stored")
    if representation not in (0, 1):
        raise _format("has no usable Pixel Representation")
    return allocated, stored, high_bit, bool(representation)


def _check_native(index: DicomIndex, layout: ImageLayout) -> tuple[tuple[int, int], ...]:
    element, frame = index.elements[PIXEL_DATA], native_frame_bytes(layout)
    if element.vr not in ("OB", "OW", "UN", ""):
        raise _format("has Pixel Data of an unknown kind")
    if element.length < frame * layout.frames:
        raise InputRejected("pixel-data-short", "Pixels are missing at the end. Send the file again from the source.")
    if element.length > frame * layout.frames + 1:
        index.warn("trailing-bytes")
    if layout.photometric == "YBR_FULL_422" and (layout.columns % 2 or layout.bits_allocated != 8):
        raise _format("has YBR_FULL_422 pixels in an odd number of columns")
    return ((element.start, frame),)


def _check_encapsulated(index: DicomIndex, layout: ImageLayout) -> tuple[tuple[tuple[int, int], ...], bool]:
    """The fragments of the first frame, and whether the meaning of the stored values is ambiguous."""
    if index.elements[PIXEL_DATA].length != UNDEFINED:
        raise InputRejected("codestream-invalid", "Compressed pixel data must be in fragments. Export the file again.")
    frames = split_frames(index, layout.frames)
    is_ambiguous = False
    for fragments in frames:
        head = join(index.buffer, fragments, HEAD_BYTES)
        if index.transfer_syntax_uid == RLE:
            check_rle(head, sum(length for _, length in fragments), layout.samples, layout.bits_allocated)
            continue
        stream = read_codestream(head, index.transfer_syntax_uid)
        if (stream.rows, stream.columns) != (layout.rows, layout.columns):
            raise _mismatch("Rows and Columns")
        if stream.components != layout.samples:
            raise _mismatch("Samples per Pixel")
        if stream.bits != layout.bits_stored:
            index.warn("precision-differs")
        if stream.signed is not None and stream.signed != layout.signed:
            index.warn("sign-differs")
        is_ambiguous |= _is_ambiguous(stream, layout)
    return tuple(frames[0]), is_ambiguous


def _is_ambiguous(stream: Codestream, layout: ImageLayout) -> bool:
    """Whether two correct decoders may give different grey values for a pixel."""
    if stream.bits > layout.bits_allocated:
        return True
    if stream.signed is not None:
        return stream.signed != layout.signed
    # JPEG and JPEG-LS store no sign. With fewer bits than Bits Stored, the sign bit of a signed value is lost.
    return layout.signed and stream.bits < layout.bits_stored


def _format(what: str) -> InputRejected:
    return InputRejected(
        "pixel-format-not-supported", f"The image {what}. Export it as 8 or 16 bit MONOCHROME2 or RGB."
    )


def _mismatch(what: str) -> InputRejected:
    return InputRejected("codestream-mismatch", f"The compressed image contradicts {what}. Export the file again.")

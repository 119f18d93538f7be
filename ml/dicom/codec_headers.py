"""Read the header of a compressed frame without decoding the frame.

A decoder allocates memory by the size in this header and not by Rows and Columns, so the two are compared before it
runs. Otherwise a JPEG 2000 file of 506 bytes whose SIZ marker announces 60,000 x 60,000 pixels would take 17 GiB.
"""

import mmap
import struct
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from ml.dicom.parser import DicomIndex
from ml.dicom.transfer_syntaxes import JPEG, JPEG_2000, JPEG_LS
from ml.errors import InputRejected

HEAD_BYTES: Final = 1 << 20
_MAX_SEGMENTS = 512
_JP2_SIGNATURE = b"\x00\x00\x00\x0cjP  \r\n\x87\n"
_MAX_J2K_TILES = 65_535


@dataclass(frozen=True, slots=True)
class Codestream:
    """Size in pixels, components and bits per component; `signed` is None where the format does not store it."""

    rows: int
    columns: int
    components: int
    bits: int
    signed: bool | None = None


def split_frames(index: DicomIndex, frames: int) -> list[list[tuple[int, int]]]:
    """The fragments (start, length) of each frame (PS3.5 annex A.4).

    A single frame has all fragments. Several frames have one fragment each, or those that the offset table names.

    Raises:
        InputRejected: there is no fragment, or the frames can't be separated.
    """
    fragments = index.fragments
    if not fragments:
        raise InputRejected(
            "pixel-data-missing", "The compressed pixel data has no fragment. Send it again from the source."
        )
    if frames == 1:
        return [fragments]
    if len(fragments) == frames:
        return [[fragment] for fragment in fragments]
    at_offset = {start - fragments[0][0]: number for number, (start, _) in enumerate(fragments)}
    firsts = [at_offset.get(offset, -1) for offset in index.offset_table[: frames + 1]]
    if len(firsts) != frames or firsts[0] != 0 or any(a >= b for a, b in pairwise(firsts)):
        raise InputRejected(
            "codestream-invalid", "The fragments can't be assigned to frames. Send single-frame images."
        )
    return [fragments[a:b] for a, b in zip(firsts, [*firsts[1:], len(fragments)], strict=True)]


def join(buffer: bytes | mmap.mmap, fragments: list[tuple[int, int]], limit: int | None = None) -> bytes:
    """Join the fragments of one frame, or the first `limit` bytes of them."""
    parts, left = [], sum(length for _, length in fragments) if limit is None else limit
    for start, length in fragments:
        if left <= 0:
            break
        parts.append(buffer[start : start + min(length, left)])
        left -= length
    return parts[0] if len(parts) == 1 else b"".join(parts)


def read_codestream(head: bytes, transfer_syntax_uid: str) -> Codestream:
    """Read the header of one frame. RLE is excluded, because its header has no size.

    Raises:
        InputRejected: the header is damaged, or belongs to another transfer syntax.
    """
    try:
        if transfer_syntax_uid in JPEG_2000:
            return _siz(head, jp2_codestream_at(head))
        if transfer_syntax_uid in JPEG_LS:
            return _sof(head, {0xF7})
        if transfer_syntax_uid in JPEG:
            return _sof(head, {0xC0, 0xC1, 0xC3})
    except struct.error as error:
        raise _invalid("ends inside its header") from error
    raise ValueError("not a transfer syntax with a sized header")


def read_jpeg_file(head: bytes) -> Codestream:
    """Read the header of a JPEG file: baseline, extended or progressive.

    Raises:
        InputRejected: the header is damaged.
    """
    try:
        return _sof(head, {0xC0, 0xC1, 0xC2})
    except struct.error as error:
        raise _invalid("ends inside its header") from error


def jp2_codestream_at(head: bytes) -> int:
    """Offset of the codestream: 0, or its place inside the JP2 boxes that some writers add."""
    if not head.startswith(_JP2_SIGNATURE):
        return 0
    pos = 0
    for _ in range(_MAX_SEGMENTS):
        length, kind = struct.unpack_from(">I4s", head, pos)
        header = 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", head, pos + 8)
            header = 16
        if kind == b"jp2c":
            return pos + header
        if length < header:
            break
        pos += length
    raise _invalid("has no codestream in its JP2 boxes")


def check_rle(head: bytes, frame_bytes: int, samples: int, bits_allocated: int) -> None:
    """Check the RLE header (PS3.5 annex G.5): one segment per byte of a sample, in order and inside the frame.

    Raises:
        InputRejected: it is damaged, or has another number of segments.
    """
    if len(head) < 64:
        raise _invalid("ends inside its header")
    count, *offsets = struct.unpack_from("<16I", head)
    expected = samples * bits_allocated // 8
    if count != expected:
        raise InputRejected(
            "codestream-mismatch", f"The RLE header must announce {expected} segments. Export the file again."
        )
    used = [*offsets[:count], frame_bytes]
    if used[0] != 64 or any(a >= b for a, b in pairwise(used)):
        raise _invalid("has segments outside its bytes")


def _sof(head: bytes, accepted: set[int]) -> Codestream:
    """Find and read the start-of-frame marker segment (ISO/IEC 10918-1 annex B, 14495-1 annex C)."""
    if not head.startswith(b"\xff\xd8"):
        raise _invalid("does not start as its transfer syntax requires")
    pos = 2
    for _ in range(_MAX_SEGMENTS):
        while head[pos : pos + 2] == b"\xff\xff":
            pos += 1
        prefix, marker, length = struct.unpack_from(">BBH", head, pos)
        if prefix != 0xFF or length < 2 or marker in (0xD8, 0xD9, 0xDA):
            break
        if marker in accepted:
            bits, rows, columns, components = struct.unpack_from(">BHHB", head, pos + 4)
            return Codestream(rows, columns, components, bits)
        if (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)) or marker == 0xF7:
            raise _invalid("uses a JPEG process that its transfer syntax does not name")
        pos += 2 + length
    raise _invalid("has no frame header")


def _siz(head: bytes, at: int) -> Codestream:
    """Read the SIZ marker segment (ISO/IEC 15444-1 annex A.5.1), which must come first."""
    if head[at : at + 4] != b"\xff\x4f\xff\x51":
        raise _invalid("does not start as its transfer syntax requires")
    _, _, x1, y1, x0, y0, tile_x, tile_y, tile_x0, tile_y0, components = struct.unpack_from(">HH8IH", head, at + 4)
    if not (x0 < x1 and y0 < y1 and tile_x and tile_y and tile_x0 <= x0 and tile_y0 <= y0 and 0 < components <= 4):
        raise _invalid("has an impossible size")
    tiles = -(-(x1 - tile_x0) // tile_x) * -(-(y1 - tile_y0) // tile_y)
    if tiles > _MAX_J2K_TILES:
        raise _invalid("has too many tiles")
    depths = set()
    for component in range(components):
        depth, step_x, step_y = struct.unpack_from(">BBB", head, at + 42 + 3 * component)
        if (step_x, step_y) != (1, 1):
            raise _invalid("has subsampled components")
        depths.add(depth)
    if len(depths) != 1:
        raise _invalid("has components of different depth")
    depth = depths.pop()
    return Codestream(y1 - y0, x1 - x0, components, (depth & 0x7F) + 1, bool(depth & 0x80))


def _invalid(what: str) -> InputRejected:
    return InputRejected(
        "codestream-invalid", f"The compressed image {what}. Export the file again, or export it uncompressed."
    )

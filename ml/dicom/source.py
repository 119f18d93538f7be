"""Open a file without copying its bytes, and recognise its format by the first bytes."""

import mmap
import zlib
from pathlib import Path
from typing import BinaryIO, Final, Literal

from ml.errors import InputRejected

Kind = Literal["dicom", "png", "jpeg"]
Source = Path | bytes | BinaryIO
"""A path, bytes, or an open file; a sandboxed process cannot open paths."""

MAX_FILE_BYTES: Final = 256 << 20
MAX_INFLATED_BYTES: Final = 64 << 20
INFLATE_STEP: Final = 256 << 10

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def open_source(source: Source) -> tuple[bytes | mmap.mmap, Kind]:
    """Map a file into memory and recognise its format.

    DICOM needs the 128-byte preamble and "DICM" (PS3.10 section 7.1). A data set without them can't be distinguished
    from other data, so it is refused.

    Raises:
        InputRejected: "file-empty", "file-too-large" or "format-not-recognised".
    """
    if isinstance(source, bytes):
        buffer: bytes | mmap.mmap = source
    elif isinstance(source, Path):
        with source.open("rb") as file:
            buffer = _mapped(file)
    else:
        buffer = _mapped(source)
    if not len(buffer):
        raise InputRejected("file-empty", "The file is empty. Send it again from the source.")
    if len(buffer) > MAX_FILE_BYTES:
        raise InputRejected("file-too-large", f"One file may have at most {MAX_FILE_BYTES >> 20} MiB.")
    if buffer[128:132] == b"DICM":
        return buffer, "dicom"
    if buffer[:8] == _PNG_SIGNATURE:
        return buffer, "png"
    if buffer[:3] == b"\xff\xd8\xff":
        return buffer, "jpeg"
    raise InputRejected("format-not-recognised", "Send DICOM Part 10 (with its preamble), PNG or JPEG.")


def _mapped(file: BinaryIO) -> bytes | mmap.mmap:
    size = file.seek(0, 2)
    if size > MAX_FILE_BYTES:
        raise InputRejected("file-too-large", f"One file may have at most {MAX_FILE_BYTES >> 20} MiB.")
    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""


def inflate(buffer: bytes | mmap.mmap, start: int) -> bytes | mmap.mmap:
    """Inflate raw deflate data (PS3.5 annex A.5), at most MAX_INFLATED_BYTES.

    The result is an anonymous memory map: its pages return to the system, which freed heap of this size does not.

    Raises:
        InputRejected: "inflate-too-large", "deflate-invalid" or "truncated".
    """
    inflater, pos = zlib.decompressobj(-zlib.MAX_WBITS), start
    inflated = mmap.mmap(-1, MAX_INFLATED_BYTES)
    try:
        while not inflater.eof:
            chunk = inflater.unconsumed_tail
            if not chunk:
                chunk = buffer[pos : pos + INFLATE_STEP]
                pos += len(chunk)
            part = inflater.decompress(chunk, INFLATE_STEP)
            if not chunk and not part:
                raise InputRejected("truncated", "The compressed data set ends early. Send it again from the source.")
            if len(part) > MAX_INFLATED_BYTES - inflated.tell():
                raise InputRejected(
                    "inflate-too-large", f"Send it uncompressed; {MAX_INFLATED_BYTES >> 20} MiB is the limit."
                )
            inflated.write(part)
    except zlib.error as error:
        raise InputRejected(
            "deflate-invalid", "The compressed data set is damaged. Send it again from the source."
        ) from error
    if not inflated.tell():
        return b""
    inflated.resize(inflated.tell())
    return inflated

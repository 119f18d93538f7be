"""What a file is by its first bytes, and its bytes without copying them."""

import mmap
from pathlib import Path
from typing import Final, Literal

from ml.errors import InputRejected

Kind = Literal["dicom", "png", "jpeg"]

MAX_FILE_BYTES: Final = 256 << 20

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def open_source(source: Path | bytes) -> tuple[bytes | mmap.mmap, Kind]:
    """The bytes, mapped and not read where they lie in a file, and what they are by their first bytes.

    DICOM needs the 128-byte preamble and "DICM" (PS3.10 section 7.1): a bare data set can't be told from noise, so it
    is refused with "format-not-recognised".
    """
    if isinstance(source, bytes):
        buffer: bytes | mmap.mmap = source
    else:
        with source.open("rb") as file:
            size = file.seek(0, 2)
            if size > MAX_FILE_BYTES:
                raise InputRejected("file-too-large", f"One file may have at most {MAX_FILE_BYTES >> 20} MiB.")
            buffer = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
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

"""Reads the UIDs of a refused file, so that the answer to its sender can name the instance; not used otherwise."""

import re
import struct
from pathlib import Path

_HEAD_BYTES = 4096
_PREAMBLE_BYTES = 128
_LONG_LENGTH = frozenset({b"OB", b"OW", b"UN", b"UT", b"SQ"})
_SOP_CLASS, _SOP_INSTANCE = (0x0002, 0x0002), (0x0002, 0x0003)
_UID = re.compile(rb"[0-9]+(\.[0-9]+)*")


def read_file_meta_uids(path: Path) -> tuple[str, str] | None:
    """SOP Class and SOP Instance UID of the File Meta Information (PS3.10 7.1); None where they can't be read."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if head[_PREAMBLE_BYTES : _PREAMBLE_BYTES + 4] != b"DICM":
        return None
    found: dict[tuple[int, int], str] = {}
    position = _PREAMBLE_BYTES + 4
    while position + 8 <= len(head) and len(found) < 2:
        group, element, vr, length = struct.unpack_from("<HH2sH", head, position)
        position += 8
        if group != 0x0002:
            break
        if vr in _LONG_LENGTH:
            if position + 4 > len(head):
                break
            (length,) = struct.unpack_from("<I", head, position)
            position += 4
        value = head[position : position + length].rstrip(b" \0")
        if (group, element) in (_SOP_CLASS, _SOP_INSTANCE) and len(value) <= 64 and _UID.fullmatch(value):
            found[group, element] = value.decode("ascii")
        position += length
    if len(found) < 2:
        return None
    return found[_SOP_CLASS], found[_SOP_INSTANCE]

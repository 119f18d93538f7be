"""Checks free disk space, so that databases and logs on the same disk can still be written."""

import errno
import shutil
from pathlib import Path

from apps.core.errors import OutOfSpaceError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_USUAL_FLOOR = 512 * 1024 * 1024
_SHARE = 20


def is_full(error: BaseException) -> bool:
    """Whether an error means that a disk or a quota is exhausted."""
    return isinstance(error, OSError) and error.errno in _FULL


def require_free(folder: Path, expected_bytes: int, *, floor_bytes: int | None) -> None:
    """Raise OutOfSpaceError where a folder's disk would fall under its floor.

    Args:
        floor_bytes: how many bytes must stay free; None for the default: 512 MiB, but at most a twentieth of the disk.
    """
    usage = shutil.disk_usage(folder)
    floor = min(_USUAL_FLOOR, usage.total // _SHARE) if floor_bytes is None else floor_bytes
    if usage.free - expected_bytes < floor:
        raise OutOfSpaceError("The server is short of disk space; try again later.")

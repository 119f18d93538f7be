"""The spool: temporary files of received bytes until they are checked. Nothing in it counts as received."""

import contextlib
import datetime
import hashlib
import itertools
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.utils.translation import gettext as _

from apps.core.errors import OutOfSpaceError, TooLargeError
from apps.studies.disk import require_free

PARTIAL_UPLOADS = "uploads"
"""The folder of uploads in pieces, which outlive a request (`apps.studies.resumable`)."""
_CHECK_SPACE_EVERY = 16 * 1024 * 1024


@dataclass(frozen=True)
class SpooledFile:
    path: Path
    sha256: str
    size: int


class SpoolWriter:
    """Writes one file and computes its SHA-256. ``close`` synchronises a durable file to disk."""

    def __init__(self, path: Path, limit: int, *, durable: bool) -> None:
        try:
            self._file = path.open("xb", buffering=0)
        except OSError as error:
            raise _no_space() from error
        self._path = path
        self._digest = hashlib.sha256()
        self._size = 0
        self._limit = limit
        self._durable = durable
        self._next_check = _CHECK_SPACE_EVERY

    def write(self, data: bytes | memoryview) -> None:
        self._size += len(data)
        if self._size > self._limit:
            raise TooLargeError(
                _("One instance may have %(limit)d MiB at most.") % {"limit": self._limit // 2**20},
                "instance-too-large",
            )
        if self._size > self._next_check:
            require_space(0)
            self._next_check += _CHECK_SPACE_EVERY
        rest = memoryview(data)
        try:
            # A disk that fills up may write only a part; the error comes with the next call.
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise _no_space() from error
        self._digest.update(data)

    def close(self) -> SpooledFile:
        try:
            if self._durable:
                os.fsync(self._file.fileno())
            # A network file system may report only now that it is full.
            self._file.close()
        except OSError as error:
            raise _no_space() from error
        return SpooledFile(self._path, self._digest.hexdigest(), self._size)

    def abandon(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()


class Spool:
    """A folder of temporary files, removed at the end of the request that made it."""

    def __init__(self, folder: Path, *, durable: bool) -> None:
        self.folder = folder
        self._durable = durable
        self._numbers = itertools.count()

    def open(self, limit: int | None = None) -> SpoolWriter:
        path = self.folder / f"part-{next(self._numbers)}"
        return SpoolWriter(path, limit or settings.MAX_INSTANCE_BYTES, durable=self._durable)

    def write(self, data: bytes) -> SpooledFile:
        writer = self.open()
        writer.write(data)
        return writer.close()

    def adopt(self, path: Path) -> SpooledFile:
        """Take a file that other code wrote into this folder, synchronised to disk."""
        try:
            with path.open("rb+") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                os.fsync(file.fileno())
        except OSError as error:
            raise _no_space() from error
        return SpooledFile(path, digest, path.stat().st_size)


@contextmanager
def open_spool(expected_bytes: int = 0, *, durable: bool = True) -> Iterator[Spool]:
    """A private folder on the spool's disk, removed at the end in every case.

    Args:
        durable: whether its files may be stored, and so must be synchronised to disk when they are closed.

    Raises:
        OutOfSpaceError: the disk would fall under its floor.
    """
    folder: Path = settings.SPOOL_DIR / uuid.uuid4().hex
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        require_space(expected_bytes)
        folder.mkdir(mode=0o700)
    except OSError as error:
        raise _no_space() from error
    try:
        yield Spool(folder, durable=durable)
    finally:
        _remove(folder)


def _remove(folder: Path) -> None:
    """Remove a folder; for plain files only this takes a third of the time of ``rmtree``."""
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
        return
    shutil.rmtree(folder, ignore_errors=True)


def require_space(expected_bytes: int) -> None:
    """Raises OutOfSpaceError where so many bytes more would bring the spool's disk under its floor."""
    require_free(settings.SPOOL_DIR, expected_bytes, floor_bytes=settings.SPOOL_FREE_FLOOR_BYTES)


def _no_space() -> OutOfSpaceError:
    return OutOfSpaceError("The spool's disk is full; try again later.")


def remove_abandoned(age: datetime.timedelta = datetime.timedelta(days=1)) -> None:
    """Remove the folders that killed processes left in the spool."""
    oldest = time.time() - age.total_seconds()
    for folder in settings.SPOOL_DIR.iterdir():
        if folder.name == PARTIAL_UPLOADS:
            continue
        # A request may end, and remove its folder, in between.
        with contextlib.suppress(FileNotFoundError):
            if folder.stat().st_mtime < oldest:
                # Uploads of forms are single files.
                folder.unlink() if folder.is_file() else shutil.rmtree(folder, ignore_errors=True)

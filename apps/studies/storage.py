"""Objects: content-addressed files in the default storage (the file system, or any S3)."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.core.files import File
from django.core.files.storage import FileSystemStorage, default_storage, storages

from apps.core.errors import OutOfSpaceError, UnavailableError
from apps.studies.spool import SpooledFile, open_spool


class _Movable(File):
    """A spooled file that a file system storage may rename into place instead of copying it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path.open("rb"), name=path.name)
        self._path = path

    def temporary_file_path(self) -> str:
        return str(self._path)


def put_file(key: str, spooled: SpooledFile) -> None:
    """Store a spooled file under its content's key; a second time is a no-op.

    Raises:
        OutOfSpaceError, UnavailableError: the storage did not take it.
    """
    try:
        if default_storage.exists(key):
            return
        with _Movable(spooled.path) as content:
            _save(key, content)
    except OSError as error:
        raise OutOfSpaceError("The object storage did not take the file; try again later.") from error
    except Exception as error:  # each S3 client has an error tree of its own
        raise UnavailableError("The object storage did not answer; try again later.") from error


def put_bytes(key: str, data: bytes) -> None:
    """Store bytes under a key that is written once, whole or not at all."""
    if not default_storage.exists(key):
        with open_spool() as spool:
            put_file(key, spool.write(data))


def _save(key: str, content: File) -> None:
    name = default_storage.save(key, content)
    if name != key:
        # Somebody stored the same content meanwhile; the copy under another name is nobody's.
        default_storage.delete(name)
    if isinstance(storages["default"], FileSystemStorage):
        folder = os.open(Path(default_storage.path(key)).parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def holds(key: str, content: Path) -> bool:
    """Whether the storage has exactly a local file's bytes under a key.

    Raises:
        UnavailableError: the storage did not answer.
    """
    try:
        if not default_storage.exists(key):
            return False
        with default_storage.open(key, "rb") as stored, content.open("rb") as wanted:
            digests = [hashlib.file_digest(each, "sha256").digest() for each in (stored, wanted)]
    except Exception as error:  # each S3 client has an error tree of its own
        raise UnavailableError("The object storage did not answer; try again later.") from error
    return digests[0] == digests[1]


def read_bytes(key: str) -> bytes:
    with default_storage.open(key, "rb") as stored:
        return stored.read()


@contextmanager
def local_path(key: str) -> Iterator[Path]:
    """The object as a file on this machine: its own path, or a spooled copy where the storage is remote.

    Raises:
        FileNotFoundError: there is no such object.
    """
    try:
        path = Path(default_storage.path(key))
    except NotImplementedError:
        with open_spool() as spool:
            copy = spool.folder / "object"
            with default_storage.open(key, "rb") as stored, copy.open("wb") as target:
                shutil.copyfileobj(stored, target)
            yield copy
        return
    if not path.exists():
        raise FileNotFoundError("The object is missing from the storage.")
    yield path

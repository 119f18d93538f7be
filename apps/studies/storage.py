"""Objects: content-addressed files in the default storage (the file system, or any S3)."""

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.core.files import File
from django.core.files.move import file_move_safe
from django.core.files.storage import FileSystemStorage, default_storage, storages

from apps.core.errors import OutOfSpaceError, UnavailableError
from apps.studies.spool import SpooledFile, open_spool

_FULL = (errno.ENOSPC, errno.EDQUOT)


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
    with _answering():
        if not default_storage.exists(key):
            _save(key, spooled.path)


def put_bytes(key: str, data: bytes) -> None:
    """Store bytes under a key that is written once, whole or not at all.

    Raises:
        OutOfSpaceError, UnavailableError: the storage did not take them.
    """
    with _answering():
        if default_storage.exists(key):
            return
    with open_spool() as spool:
        put_file(key, spool.write(data))


def replace_file(key: str, spooled: SpooledFile) -> None:
    """Store a spooled file under a key that may hold something else; there is one of both at any time.

    Raises:
        OutOfSpaceError, UnavailableError: the storage did not take it.
    """
    storage = storages["default"]
    with _answering():
        if isinstance(storage, FileSystemStorage) and storage.exists(key):
            if storage.file_permissions_mode is not None:
                spooled.path.chmod(storage.file_permissions_mode)
            file_move_safe(str(spooled.path), storage.path(key), allow_overwrite=True)
            _sync_folder(key)
        else:
            # An S3 object changes at once when its successor is there.
            _save(key, spooled.path)


def holds(key: str, content: Path) -> bool:
    """Whether the storage has exactly a local file's bytes under a key.

    Raises:
        UnavailableError: the storage did not answer.
    """
    try:
        with open_object(key) as stored, content.open("rb") as wanted:
            digests = [hashlib.file_digest(each, "sha256").digest() for each in (stored, wanted)]
    except FileNotFoundError:
        return False
    return digests[0] == digests[1]


@contextmanager
def open_object(key: str) -> Iterator[Any]:
    """An object, open for reading.

    Raises:
        FileNotFoundError: there is no such object.
        UnavailableError: the storage did not answer.
    """
    with _answering():
        stored = default_storage.open(key, "rb")
        # Of an S3 object this is a copy, which is fetched here and not where somebody reads of it.
        _ = stored.file
    with stored:
        yield stored


def read_bytes(key: str) -> bytes:
    """A whole object; raises as `open_object` does."""
    with open_object(key) as stored:
        return bytes(stored.read())


def is_local() -> bool:
    """Whether objects are files of this machine, so that `local_path` copies nothing."""
    return isinstance(storages["default"], FileSystemStorage)


@contextmanager
def local_path(key: str) -> Iterator[Path]:
    """The object as a file on this machine: its own path, or a spooled copy where the storage is remote.

    Raises:
        FileNotFoundError: there is no such object.
        UnavailableError: the storage did not answer.
    """
    try:
        path = Path(default_storage.path(key))
    except NotImplementedError:
        with open_spool() as spool:
            copy = spool.folder / "object"
            with open_object(key) as stored, copy.open("wb") as target:
                shutil.copyfileobj(stored, target)
            yield copy
        return
    if not path.exists():
        raise FileNotFoundError("The object is missing from the storage.")
    yield path


@contextmanager
def _answering() -> Iterator[None]:
    """Whatever a storage's client raises, in our own terms; FileNotFoundError stays."""
    try:
        yield
    except FileNotFoundError:
        raise
    except Exception as error:  # each S3 client has an error tree of its own
        if isinstance(error, OSError) and error.errno in _FULL:
            raise OutOfSpaceError("The object storage did not take the file; try again later.") from error
        raise UnavailableError("The object storage did not answer; try again later.") from error


def _save(key: str, path: Path) -> None:
    with _Movable(path) as content:
        name = default_storage.save(key, content)
    if name != key:
        # Somebody stored the same content meanwhile; the copy under another name is nobody's.
        default_storage.delete(name)
    if is_local():
        _sync_folder(key)


def _sync_folder(key: str) -> None:
    folder = os.open(Path(default_storage.path(key)).parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)

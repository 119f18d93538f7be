"""Stored objects: files in the default storage (the file system, or any S3), most under the SHA-256 of their content.

An object that is read for a result is compared with that SHA-256 first. An object that is sent again is checked, and
replaced where it is damaged.
"""

import contextlib
import functools
import hashlib
import io
import logging
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from django.core.files.storage import FileSystemStorage, storages
from django.utils.translation import gettext as _

from apps.core.errors import ChecxrayError, ObjectLostError, OutOfSpaceError, UnavailableError
from apps.core.metrics import OBJECTS_LOST
from apps.studies.disk import is_full
from apps.studies.object_store import FileStore, ObjectStore
from apps.studies.s3_store import S3Store
from apps.studies.spool import SpooledFile, open_spool

logger = logging.getLogger(__name__)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_BLOCK = 1024 * 1024


def object_store() -> ObjectStore:
    """The storage of ``STORAGES["default"]``."""
    storage = storages["default"]
    return FileStore(storage) if isinstance(storage, FileSystemStorage) else _s3_store(storage, os.getpid())


@functools.lru_cache(maxsize=4)
def _s3_store(storage: Any, process: int) -> S3Store:
    """One client for all threads of a process, because creating one takes a tenth of a second."""
    return S3Store(storage)


def is_local_storage() -> bool:
    """Whether objects are files on this machine, so that `local_path` copies nothing."""
    return isinstance(storages["default"], FileSystemStorage)


def put_file(key: str, spooled: SpooledFile) -> bool:
    """Store a spooled file under a key, unless exactly these bytes are there already.

    An object that is there is read and compared, so that a damaged one is repaired. One that is not damaged gets a new
    modification time, as if it had just been stored.

    Returns:
        Whether the object was written.

    Raises:
        OutOfSpaceError, UnavailableError: the storage did not take it.
    """
    with _answering():
        store = object_store()
        if has_content(key, spooled):
            store.renew(key, spooled.path)
            return False
        store.put(key, spooled.path)
        return True


def put_bytes(key: str, data: bytes) -> None:
    """Store bytes under a key, whole or not at all, as `put_file` does."""
    with open_spool() as spool:
        put_file(key, spool.write(data))


def has_content(key: str, content: SpooledFile) -> bool:
    """Whether the storage has exactly these bytes under a key.

    Raises:
        UnavailableError: the storage did not answer.
    """
    with _answering():
        store = object_store()
        size = store.size(key)
        if size is None:
            return False
        if size == content.size:
            with store.open(key) as stored:
                if _digest(stored) == content.sha256:
                    return True
    logger.warning("The object %s has other bytes than its key says; it is replaced.", key)
    return False


def matches_key(key: str) -> bool:
    """Whether the object has the SHA-256 that its key contains.

    Raises:
        FileNotFoundError, UnavailableError
    """
    with _answering(), object_store().open(key) as stored:
        return _digest(stored) == sha256_in_key(key)


@contextmanager
def open_object(key: str) -> Iterator[BinaryIO]:
    """An object, open for reading; its bytes are not checked.

    Raises:
        FileNotFoundError: there is no such object.
        UnavailableError: the storage did not answer.
    """
    with _local_copy(key) as path, path.open("rb") as stored:
        yield stored


def read_bytes(key: str) -> bytes:
    """A whole object; raises as `open_object` does."""
    target = io.BytesIO()
    with _answering(), object_store().open(key) as stored:
        shutil.copyfileobj(stored, target, _BLOCK)
    return target.getvalue()


@contextmanager
def local_path(key: str) -> Iterator[Path]:
    """The object as a file on this machine: its own path, or a spooled copy where the storage is remote.

    Where the key contains a SHA-256, the file is compared with it, so that a damaged object is never used.

    Raises:
        ObjectLostError: the object of a key with a SHA-256 is missing or damaged.
        FileNotFoundError: there is no object under a key without one.
        UnavailableError: the storage did not answer.
    """
    wanted = sha256_in_key(key)
    try:
        with _local_copy(key) as path:
            if wanted is not None:
                with _answering(), path.open("rb") as content:
                    if _digest(content) != wanted:
                        raise _lost(key, "damaged")
            yield path
    except FileNotFoundError as error:
        if wanted is None:
            raise
        raise _lost(key, "missing") from error


def require_objects(objects: Iterable[tuple[str, int]]) -> None:
    """Check that objects (key, size in bytes) are there, before an answer with them is begun.

    Raises:
        ObjectLostError: one is missing or has another size.
        UnavailableError: the storage did not answer.
    """
    with _answering():
        for key, size in objects:
            found = object_store().size(key)
            if found != size:
                raise _lost(key, "missing" if found is None else "damaged")


def delete_object(key: str) -> None:
    """Remove an object; one that is not there is no error.

    Raises:
        UnavailableError: the storage did not answer.
    """
    with _answering(), contextlib.suppress(FileNotFoundError):
        object_store().delete(key)


def sha256_in_key(key: str) -> str | None:
    """The SHA-256 that the key contains; None for a key of another kind."""
    name = key.rpartition("/")[2]
    return name if _SHA256.fullmatch(name) else None


@contextmanager
def _local_copy(key: str) -> Iterator[Path]:
    store = object_store()
    if isinstance(store, FileStore):
        yield store.path(key)
        return
    try:
        with open_spool() as spool:
            copy = spool.folder / "object"
            with _answering(), store.open(key) as stored, copy.open("wb") as target:
                shutil.copyfileobj(stored, target, _BLOCK)
            yield copy
    except OutOfSpaceError as error:
        raise UnavailableError(
            _("This machine's disk is too full for a copy of the object; try again later.")
        ) from error


def _digest(content: BinaryIO) -> str:
    return hashlib.file_digest(content, "sha256").hexdigest()  # type: ignore[arg-type]


def _lost(key: str, kind: str) -> ObjectLostError:
    """Make the error, and log it for the operator, who does not see the answer. The key contains no patient data."""
    OBJECTS_LOST.labels(kind).inc()
    logger.error("The object %s is %s. Its sender can restore it by sending it again.", key, kind)
    return ObjectLostError(f"The stored image is {kind}: send it again.", f"object-{kind}")


@contextmanager
def _answering() -> Iterator[None]:
    """Convert every exception of a storage client to one of ``apps.core.errors``; FileNotFoundError stays."""
    try:
        yield
    except (ChecxrayError, FileNotFoundError):
        raise
    except Exception as error:  # each S3 client has an error tree of its own
        if is_full(error):
            raise OutOfSpaceError(_("The object storage did not take the file; try again later.")) from error
        raise UnavailableError(_("The object storage did not answer; try again later.")) from error

"""The interface of an object storage, and its implementation on the file system. Keys are paths with ``/``."""

import contextlib
import errno
import os
import shutil
import stat
import time
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from django.conf import settings
from django.core.files.storage import FileSystemStorage

from apps.core.errors import UnavailableError
from apps.studies.disk import require_free

_BLOCK = 1024 * 1024
# The errors of file systems that cannot make this hard link.
_NO_LINKS = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS)


@dataclass(frozen=True)
class StoredObject:
    """One entry of a listing; ``modified`` is in seconds since 1970."""

    key: str
    size: int
    modified: float


class ObjectStore(Protocol):
    """Every method raises FileNotFoundError where the object is absent, and otherwise what its client raises."""

    def size(self, key: str) -> int | None:
        """The object's size in bytes; None where it is absent."""
        ...

    def put(self, key: str, source: Path) -> None:
        """Store a local file under a key, atomically replacing an object that is there."""
        ...

    def renew(self, key: str, source: Path) -> None:
        """Set the time of an object with the bytes of ``source`` to now, so that it is not collected as an orphan."""
        ...

    def open(self, key: str) -> AbstractContextManager[BinaryIO]:
        """The object, for reading once from its beginning to its end."""
        ...

    def delete(self, key: str) -> None: ...

    def move(self, key: str, to: str) -> None: ...

    def entries(self, folder: str, after: str = "") -> Iterator[StoredObject]:
        """The objects below a folder whose keys come after ``after``, in the order of their keys."""
        ...

    def folders(self, folder: str) -> list[str]:
        """The names of the folders directly below a folder, in order."""
        ...


class FileStore:
    """Objects as files below one folder.

    A new file is first written to ``INCOMING`` on the same file system and synchronised to disk, and only then gets its
    name. A full disk or a power failure so leaves no partial file under a key.
    """

    INCOMING = "incoming"

    def __init__(self, storage: FileSystemStorage) -> None:
        self._root = Path(storage.location)
        self._file_mode = storage.file_permissions_mode
        self._folder_mode = storage.directory_permissions_mode

    def path(self, key: str) -> Path:
        """The file of an object that is there.

        Raises:
            UnavailableError: the storage has no object of any tenant; probably its disk is not mounted.
        """
        path = self._root / key
        if not path.is_file():
            if key.startswith("t/") and not (self._root / "t").is_dir():
                raise UnavailableError("The folder of the object storage is missing: is its disk mounted?")
            raise FileNotFoundError("The object is missing from the storage.")
        return path

    def size(self, key: str) -> int | None:
        try:
            found = (self._root / key).stat()
        except FileNotFoundError:
            return None
        return found.st_size if stat.S_ISREG(found.st_mode) else None

    def put(self, key: str, source: Path) -> None:
        target = self._root / key
        self._make_folder(target.parent)
        if self._file_mode is not None:
            source.chmod(self._file_mode)
        try:
            # The usual case: the spool is on this file system, and its file is synchronised to disk already.
            os.link(source, target)
        except FileExistsError:
            self._copy_and_rename(source, target)
        except OSError as error:
            if error.errno in _NO_LINKS:
                self._copy_and_rename(source, target)
            else:
                raise
        _sync(target.parent)

    def renew(self, key: str, source: Path) -> None:
        os.utime(self._root / key)

    @contextmanager
    def open(self, key: str) -> Iterator[BinaryIO]:
        with self.path(key).open("rb") as file:
            yield file

    def delete(self, key: str) -> None:
        (self._root / key).unlink()

    def move(self, key: str, to: str) -> None:
        target = self._root / to
        self._make_folder(target.parent)
        (self._root / key).replace(target)
        _sync(target.parent)

    def entries(self, folder: str, after: str = "") -> Iterator[StoredObject]:
        base = self._root / folder
        with contextlib.suppress(FileNotFoundError):
            for name in sorted(each.name for each in base.iterdir()):
                key = f"{folder}/{name}"
                if (base / name).is_dir():
                    yield from self.entries(key, after)
                elif key > after:
                    with contextlib.suppress(FileNotFoundError):
                        found = (base / name).stat()
                        yield StoredObject(key, found.st_size, found.st_mtime)

    def folders(self, folder: str) -> list[str]:
        with contextlib.suppress(FileNotFoundError):
            return sorted(each.name for each in (self._root / folder).iterdir() if each.is_dir())
        return []

    def remove_abandoned(self, seconds: float) -> None:
        """Remove the files that killed processes left in ``INCOMING``, once they are this old."""
        for each in self.entries(self.INCOMING):
            if each.modified < time.time() - seconds:
                self.delete(each.key)

    def _copy_and_rename(self, source: Path, target: Path) -> None:
        incoming = self._root / self.INCOMING / uuid.uuid4().hex
        self._make_folder(incoming.parent)
        require_free(self._root, source.stat().st_size, floor_bytes=settings.OBJECT_FREE_FLOOR_BYTES)
        try:
            with source.open("rb") as content, incoming.open("xb") as copy:
                shutil.copyfileobj(content, copy, _BLOCK)
                copy.flush()
                os.fsync(copy.fileno())
            if self._file_mode is not None:
                incoming.chmod(self._file_mode)
            incoming.replace(target)
        finally:
            incoming.unlink(missing_ok=True)

    def _make_folder(self, folder: Path) -> None:
        """Create a folder and its parents so that they survive a power failure, as the objects in them must."""
        if folder.is_dir():
            return
        self._make_folder(folder.parent)
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o777 if self._folder_mode is None else self._folder_mode)
        _sync(folder.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

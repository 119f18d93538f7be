"""Uploads in pieces (ADR 12): files of the spool that grow until they are complete. Nothing in them counts as received.

The length of such a file says how much has arrived. A killed process or a full disk leaves a correct beginning, so the
sender continues from there and no other record of the offset has to be kept in step.
"""

import datetime
import fcntl
import json
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from uuid import UUID

from django.conf import settings
from django.utils.crypto import salted_hmac
from django.utils.translation import gettext as _

from apps.core.errors import ConflictError, NotFoundError, OutOfSpaceError, TooLargeError, TooManyRequestsError
from apps.studies.spool import PARTIAL_UPLOADS, require_space
from apps.studies.uploads import Stream, read_body

MOST_PER_USER = 200
"""How many unfinished uploads a user may have."""
_RECORD = ".done"
# A keyed digest of the file's fingerprint, and the file's size. It is a part of addresses, so it must not say more.
_ID = re.compile(r"[0-9a-f]{32}-[0-9]{1,15}")


@dataclass(frozen=True)
class PartialUpload:
    """One upload: its file, named by its identifier, and the size that it will have in bytes."""

    path: Path
    size: int

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def offset(self) -> int:
        """How many bytes have arrived. Raises NotFoundError where the upload was stored, discarded or expired."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError as error:
            raise _gone() from error

    @property
    def expires(self) -> datetime.datetime:
        """When it is removed, unless more of it arrives."""
        with suppress(FileNotFoundError):
            return datetime.datetime.fromtimestamp(self.path.stat().st_mtime, datetime.UTC) + _lifetime()
        raise _gone()

    def append(self, stream: Stream, *, offset: int, length: int | None) -> int:
        """Add a piece that begins at ``offset`` and return the new offset.

        Args:
            length: the length of the piece in bytes, where it was announced.

        Raises:
            ConflictError: the piece does not begin where the file ends.
            TooLargeError: the file would become longer than was declared. Nothing of the piece is kept.
            OutOfSpaceError: the disk is full. What was written before stays.
        """
        with self._locked() as file:
            start = file.seek(0, os.SEEK_END)
            if offset != start:
                raise ConflictError(_("The piece does not begin where the upload ends."), "upload-offset")
            left = self.size - start
            if length is not None and length > left:
                raise TooLargeError(_("The piece is longer than what is missing."), "upload-beyond-size")
            require_space(length or 0)
            try:
                for data in read_body(stream, length=length, limit=left):
                    rest = memoryview(data)
                    while rest:
                        rest = rest[file.write(rest) :]
            except TooLargeError as error:
                file.truncate(start)
                raise TooLargeError(_("The piece is longer than what is missing."), "upload-beyond-size") from error
            except OSError as error:
                raise OutOfSpaceError(_("The server is short of disk space; try again later.")) from error
            return file.tell()

    @contextmanager
    def whole(self) -> Iterator[Path]:
        """The complete file, which no other request changes meanwhile.

        Raises:
            ConflictError: some of it has not arrived yet.
        """
        with self._locked() as file:
            if file.seek(0, os.SEEK_END) != self.size:
                raise ConflictError(_("Some of the file has not arrived yet."), "upload-incomplete")
            yield self.path

    def record(self, outcome: dict[str, Any]) -> None:
        """Keep what became of the complete file, for a sender that did not receive the answer, and remove the file."""
        temporary = self.path.with_name(f"{self.id}.{secrets.token_hex(4)}{_RECORD}")
        # Without the record, the sender sends the file again and learns that it is stored already.
        with suppress(OSError):
            temporary.write_text(json.dumps(outcome))
            temporary.replace(self.record_path)
        self.path.unlink(missing_ok=True)

    def recorded(self) -> dict[str, Any] | None:
        """What ``record`` kept; None where there is nothing."""
        with suppress(OSError, ValueError):
            found: dict[str, Any] = json.loads(self.record_path.read_text())
            return found
        return None

    def discard(self) -> None:
        """Remove the upload; waiting requests for it are refused."""
        with self._locked():
            self.path.unlink(missing_ok=True)

    @property
    def record_path(self) -> Path:
        return self.path.with_name(self.id + _RECORD)

    @contextmanager
    def _locked(self) -> Iterator[BinaryIO]:
        """The open file while no other request has it. The lock ends with the process, however that ends."""
        try:
            file = self.path.open("r+b", buffering=0)
        except FileNotFoundError as error:
            raise _gone() from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise TooManyRequestsError(
                    _("Another request works on this upload; try again."), "upload-busy", retry_after=1
                ) from error
            if not self._is_file(file):
                raise _gone()
            yield file

    def _is_file(self, file: BinaryIO) -> bool:
        """Whether the opened file still has its name: another request may have removed it before the lock."""
        try:
            return os.path.samestat(os.fstat(file.fileno()), self.path.stat())
        except FileNotFoundError:
            return False


class PartialUploads:
    """The unfinished uploads of one user at one tenant."""

    def __init__(self, *, tenant_id: UUID, user_id: UUID) -> None:
        self._tenant = _root() / str(tenant_id)
        self._folder = self._tenant / str(user_id)

    def start(self, *, size: int, fingerprint: str = "") -> PartialUpload:
        """Begin an upload, or continue the one with the same size and fingerprint.

        Args:
            size: of the whole file in bytes.
            fingerprint: any text that is the same for the same file only; without one, nothing is continued.

        Raises:
            TooLargeError: the file, or the user's unfinished uploads together, would exceed their limit.
            OutOfSpaceError: the tenant's unfinished uploads would, or the disk is short of space.
        """
        if size > settings.MAX_UPLOAD_BYTES:
            limit = settings.MAX_UPLOAD_BYTES // 2**20
            raise TooLargeError(_("One file may have %(limit)d MiB at most.") % {"limit": limit}, "upload-too-large")
        seed = fingerprint or secrets.token_hex()
        digest = salted_hmac("apps.studies.resumable", seed, algorithm="sha256").hexdigest()[:32]
        upload = PartialUpload(self._folder / f"{digest}-{size}", size)
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _lock_folder(self._tenant):
                if not upload.path.exists():
                    self._require_room(size)
                    upload.path.touch(mode=0o600)
        except OSError as error:
            raise OutOfSpaceError(_("The server is short of disk space; try again later.")) from error
        # It would answer for the former upload of the same file.
        upload.record_path.unlink(missing_ok=True)
        return upload

    def get(self, upload_id: str) -> PartialUpload:
        """The upload with this identifier. Where it is stored, only ``recorded`` still answers."""
        if _ID.fullmatch(upload_id) is None:
            raise _gone()
        return PartialUpload(self._folder / upload_id, _size_in(upload_id))

    def unfinished(self) -> list[PartialUpload]:
        return _uploads_in(self._folder)

    def arrived_bytes(self) -> int:
        """How many bytes of the unfinished uploads have arrived."""
        total = 0
        for each in self.unfinished():
            with suppress(NotFoundError):
                total += each.offset
        return total

    def discard_all(self) -> int:
        """Discard the unfinished uploads that no request works on, and return their number."""
        count = 0
        for each in self.unfinished():
            with suppress(NotFoundError, TooManyRequestsError):
                each.discard()
                count += 1
        return count

    def _require_room(self, size: int) -> None:
        mine = self.unfinished()
        if len(mine) >= MOST_PER_USER or _declared(mine) + size > settings.PARTIAL_UPLOAD_BYTES_PER_USER:
            raise TooLargeError(
                _("You have too many unfinished uploads: continue or discard them first."), "unfinished-uploads"
            )
        all_users = [each for folder in self._tenant.iterdir() if folder.is_dir() for each in _uploads_in(folder)]
        if _declared(all_users) + size > settings.PARTIAL_UPLOAD_BYTES_PER_TENANT:
            raise OutOfSpaceError(_("Too many uploads of your hospital are unfinished; try again later."))
        require_space(size)


def remove_expired_uploads() -> None:
    """Remove uploads of which nothing has arrived for long, and the records of those that were stored."""
    oldest = time.time() - _lifetime().total_seconds()
    for path in _root().glob("*/*/*"):
        # A request may remove it in between.
        with suppress(FileNotFoundError, NotFoundError, TooManyRequestsError):
            if path.stat().st_mtime >= oldest:
                continue
            if path.name.endswith(_RECORD):
                path.unlink()
            else:
                PartialUpload(path, 0).discard()


@contextmanager
def _lock_folder(folder: Path) -> Iterator[None]:
    """Let one process at a time count what is in a folder and add to it."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield
    finally:
        os.close(opened)


def _root() -> Path:
    root: Path = settings.SPOOL_DIR / PARTIAL_UPLOADS
    return root


def _lifetime() -> datetime.timedelta:
    return datetime.timedelta(hours=settings.PARTIAL_UPLOAD_HOURS)


def _uploads_in(folder: Path) -> list[PartialUpload]:
    if not folder.is_dir():
        return []
    names = [path for path in folder.iterdir() if not path.name.endswith(_RECORD)]
    return [PartialUpload(path, _size_in(path.name)) for path in names]


def _size_in(upload_id: str) -> int:
    return int(upload_id.rpartition("-")[2])


def _declared(uploads: list[PartialUpload]) -> int:
    return sum(each.size for each in uploads)


def _gone() -> NotFoundError:
    return NotFoundError(_("There is no such upload: it was stored, discarded or expired."), "upload-unknown")

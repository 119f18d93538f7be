"""Streams request bodies and uploaded files into the spool, and checks their length."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from django.core.files.uploadhandler import FileUploadHandler, SkipFile, StopUpload
from django.http import HttpRequest
from django.utils.translation import gettext as _

from apps.core.errors import ChecxrayError, InvalidInputError, TooLargeError
from apps.studies.archives import display_name
from apps.studies.spool import Spool, SpooledFile, SpoolWriter

READ_BYTES = 1024 * 1024


class Stream(Protocol):
    def read(self, size: int, /) -> bytes: ...


def announced_length(request: HttpRequest) -> int | None:
    """The Content-Length of a request in bytes; None where it names none."""
    announced = request.META.get("CONTENT_LENGTH") or ""
    return int(announced) if announced.isdecimal() else None


def read_body(stream: Stream, *, length: int | None, limit: int) -> Iterator[bytes]:
    """The body in chunks.

    Args:
        length: the body's length where the client announced it.
        limit: the most bytes that a body may have.

    Raises:
        TooLargeError: it is longer than the limit.
        InvalidInputError: it is shorter than announced.
    """
    if length is not None and length > limit:
        raise _too_large(limit)
    received = 0
    while True:
        try:
            data = stream.read(READ_BYTES)
        except OSError as error:
            raise _cut_off() from error
        if not data:
            break
        received += len(data)
        if received > limit:
            raise _too_large(limit)
        yield data
    if length is not None and received != length:
        raise _cut_off()


def _too_large(limit: int) -> TooLargeError:
    return TooLargeError(
        _("One request may have %(limit)d MiB at most: send fewer instances at once.") % {"limit": limit // 2**20}
    )


def _cut_off() -> InvalidInputError:
    return InvalidInputError(_("The upload was cut off; nothing was stored. Send it again."), "upload-cut-off")


@dataclass(frozen=True)
class ReceivedFile:
    name: str
    spooled: SpooledFile

    def close(self) -> None:
        """Do nothing: Django calls this at the end of a request, and the spool removes the file."""


class SpoolUploadHandler(FileUploadHandler):
    """Streams the files of a form straight into the spool, hashing on the way.

    Args:
        limit: the most bytes that one file may have.
        field: the form field whose files are accepted; None accepts all.
        most: the largest number of files.
    """

    def __init__(
        self, request: HttpRequest, spool: Spool, *, limit: int, field: str | None = None, most: int | None = None
    ) -> None:
        super().__init__(request)
        self.received: list[ReceivedFile] = []
        self.error: ChecxrayError | None = None
        self._spool = spool
        self._limit, self._field, self._most = limit, field, most
        self._writer: SpoolWriter | None = None

    def new_file(self, field_name: str, *args: Any, **kwargs: Any) -> None:
        super().new_file(field_name, *args, **kwargs)
        if self._field is not None and field_name != self._field:
            raise SkipFile
        if self._most is not None and len(self.received) >= self._most:
            self.error = TooLargeError(
                _("One request may have %(most)d images at most.") % {"most": self._most}, "too-many-images"
            )
            raise StopUpload(connection_reset=False)
        self._writer = self._spool.open(self._limit)

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        assert self._writer is not None
        try:
            self._writer.write(raw_data)
        except ChecxrayError as error:
            self.error = error
            self._writer.abandon()
            raise StopUpload(connection_reset=False) from error

    def file_complete(self, file_size: int) -> Any:
        assert self._writer is not None
        received = ReceivedFile(display_name(self.file_name or ""), self._writer.close())
        self.received.append(received)
        return received

    def upload_interrupted(self) -> None:
        if self._writer is not None:
            self._writer.abandon()

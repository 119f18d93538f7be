"""Reads a Store Instances request (PS3.18 8.6.1.2, RFC 2387) from its stream and spools each part."""

import re
from dataclasses import dataclass

from django.conf import settings
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from apps.core.errors import InvalidInputError, TooLargeError, UnsupportedTypeError
from apps.studies.spool import Spool, SpooledFile, SpoolWriter
from apps.studies.uploads import Stream, read_body

DICOM = "application/dicom"
MULTIPART = "multipart/related"
MAX_PREAMBLE_BYTES = 64 * 1024
MAX_PART_HEADERS = 16
MAX_PART_HEADER_BYTES = 4096
# RFC 2046 5.1.1: `bchars`, the last one not a space. It allows 70 of them; Orthanc 1.10 sends 73.
_BOUNDARY = re.compile(rb"[0-9A-Za-z'()+_,\-./:=? ]{0,199}[0-9A-Za-z'()+_,\-./:=?]")


@dataclass(frozen=True)
class RefusedPart:
    """A part that was not spooled; ``code`` is the reason."""

    code: str


Part = SpooledFile | RefusedPart


def receive(stream: Stream, *, content_type: str, length: int | None, spool: Spool) -> list[Part]:
    """Spool every part of a request's body, in its order.

    Args:
        stream: the body.
        content_type: the request's Content-Type.
        length: the body's length where the client announced it.
        spool: where the parts go.

    Raises:
        UnsupportedTypeError: neither DICOM parts nor one DICOM object.
        InvalidInputError: the body is malformed or cut off.
        TooLargeError, OutOfSpaceError
    """
    kind, parameters = parse_options_header(content_type)
    receiver: _Single | _Multipart
    if kind == DICOM.encode():
        receiver = _Single(spool)
    elif kind == MULTIPART.encode():
        receiver = _Multipart(spool, _boundary(parameters))
    else:
        raise UnsupportedTypeError(f'Send {MULTIPART}; type="{DICOM}", or one object as {DICOM}.')
    try:
        for data in read_body(stream, length=length, limit=settings.MAX_UPLOAD_BYTES):
            receiver.feed(data)
        return receiver.finish()
    finally:
        receiver.abandon()


def _boundary(parameters: dict[bytes, bytes]) -> bytes:
    if parameters.get(b"type", DICOM.encode()).lower() != DICOM.encode():
        raise UnsupportedTypeError(f'Only type="{DICOM}" is accepted: send each instance as a DICOM file.')
    boundary = parameters.get(b"boundary", b"")
    if not _BOUNDARY.fullmatch(boundary):
        raise InvalidInputError("The Content-Type has no valid boundary (RFC 2046 5.1.1).", "boundary-invalid")
    return boundary


class _PartWriter:
    """Spools one part. A part without bytes makes no file; a part that is too large is refused, the others are not."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._writer: SpoolWriter | None = None
        self._refused: RefusedPart | None = None

    def write(self, data: bytes | memoryview) -> None:
        if self._refused is not None:
            return
        if self._writer is None:
            self._writer = self._spool.open()
        try:
            self._writer.write(data)
        except TooLargeError:
            self._refused = RefusedPart("file-too-large")
            self.abandon()

    def close(self) -> Part:
        if self._writer is None:
            return self._refused or RefusedPart("file-empty")
        writer, self._writer = self._writer, None
        return writer.close()

    def abandon(self) -> None:
        if self._writer is not None:
            self._writer.abandon()
        self._writer = None


class _Single:
    """A body that is one DICOM object."""

    def __init__(self, spool: Spool) -> None:
        self._writer = _PartWriter(spool)

    def feed(self, data: bytes) -> None:
        self._writer.write(data)

    def finish(self) -> list[Part]:
        part = self._writer.close()
        if part == RefusedPart("file-empty"):
            raise InvalidInputError("The request has no body: send at least one instance.", "no-instances")
        return [part]

    def abandon(self) -> None:
        self._writer.abandon()


class _Multipart:
    """A multipart/related body; ``python_multipart`` finds the boundaries."""

    def __init__(self, spool: Spool, boundary: bytes) -> None:
        self._spool = spool
        self._parts: list[Part] = []
        self._writer: _PartWriter | None = None
        self._field = b""
        self._value = b""
        self._type = b""
        self._ended = False
        # A preamble may precede the first delimiter (RFC 2046 5.1.1), which a form parser does not expect.
        self._delimiter = b"--" + boundary
        self._preamble: bytes | None = b""
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._header_field,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_headers_finished": self._open,
                "on_part_data": self._data,
                "on_part_end": self._end,
                "on_end": self._finish,
            },
            max_header_count=MAX_PART_HEADERS,
            max_header_size=MAX_PART_HEADER_BYTES,
        )

    def feed(self, data: bytes) -> None:
        if self._preamble is not None:
            data = self._skip_preamble(self._preamble + data)
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise InvalidInputError("The multipart body is malformed (RFC 2046).", "multipart-malformed") from error

    def finish(self) -> list[Part]:
        if not self._ended:
            raise InvalidInputError(
                "The multipart body has no closing delimiter; nothing was stored. Send it again.", "upload-cut-off"
            )
        if not self._parts:
            raise InvalidInputError("The request has no part: send at least one instance.", "no-instances")
        return self._parts

    def abandon(self) -> None:
        if self._writer is not None:
            self._writer.abandon()

    def _skip_preamble(self, data: bytes) -> bytes:
        """The data from the first delimiter on; empty while the delimiter has not arrived."""
        start = 0 if data.startswith(self._delimiter) else data.find(b"\r\n" + self._delimiter)
        if start < 0:
            if len(data) > MAX_PREAMBLE_BYTES:
                raise InvalidInputError("The announced boundary does not occur in the body.", "multipart-malformed")
            self._preamble = data
            return b""
        self._preamble = None
        return data[start:]

    def _begin(self) -> None:
        if len(self._parts) >= settings.MAX_UPLOAD_PARTS:
            raise TooLargeError(f"One request may have {settings.MAX_UPLOAD_PARTS} instances at most.")
        self._type = b""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._field.lower() == b"content-type":
            self._type = parse_options_header(self._value)[0]
        self._field = self._value = b""

    def _open(self) -> None:
        self._writer = _PartWriter(self._spool) if self._type in (b"", DICOM.encode()) else None

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._writer is not None:
            self._writer.write(memoryview(data)[start:end])

    def _end(self) -> None:
        self._parts.append(RefusedPart("part-type-not-supported") if self._writer is None else self._writer.close())
        self._writer = None

    def _finish(self) -> None:
        self._ended = True

"""Receives the images of a request to ``/predict``, by its Content-Type, without decoding them."""

from typing import Any, Final

from django.conf import settings
from django.core.exceptions import RequestDataTooBig, TooManyFieldsSent, TooManyFilesSent
from django.http import HttpRequest
from django.http.multipartparser import MultiPartParser, MultiPartParserError
from django.utils.http import parse_header_parameters

from apps.core.errors import InvalidInputError, TooLargeError, UnsupportedTypeError
from apps.inference.prediction import ImageFile
from apps.inference.tensors import decompress_gzip
from apps.studies.archives import display_name
from apps.studies.spool import Spool
from apps.studies.uploads import SpoolUploadHandler, Stream, announced_length, read_body

NPY: Final = "application/x-npy"
FORM: Final = "multipart/form-data"
FILES: Final = ("application/dicom", "image/png", "image/jpeg")


def content_type_of(request: HttpRequest) -> str:
    """The media type of the request's body.

    Raises:
        UnsupportedTypeError: ``/predict`` does not accept this type, or this Content-Encoding.
    """
    content_type = (request.content_type or "").lower()
    if content_type not in (*FILES, FORM, NPY):
        raise UnsupportedTypeError(f"Send {', '.join(FILES)}, several of them as {FORM}, or {NPY}.")
    encodings = ("identity", "gzip") if content_type == NPY else ("identity",)
    if request.headers.get("Content-Encoding", "identity").lower() not in encodings:
        raise UnsupportedTypeError(f"Send the body with Content-Encoding {' or '.join(encodings)}.")
    return content_type


def receive_tensor(request: HttpRequest) -> bytes:
    """The bytes of an array, which are never written to disk.

    Raises:
        InvalidInputError, TooLargeError
    """
    limit: int = settings.PREDICT_MAX_TENSOR_BYTES
    body = b"".join(read_body(request, length=announced_length(request), limit=limit))
    if request.headers.get("Content-Encoding", "").lower() == "gzip":
        return decompress_gzip(body, limit)
    return body


def receive_files(request: HttpRequest, content_type: str, spool: Spool) -> list[ImageFile]:
    """The files of the request, spooled.

    Raises:
        InvalidInputError: there is none, or the body is malformed or cut off.
        TooLargeError, OutOfSpaceError
    """
    return _form(request, spool) if content_type == FORM else [_single(request, spool)]


def _single(request: HttpRequest, spool: Spool) -> ImageFile:
    writer = spool.open()
    try:
        for data in read_body(request, length=announced_length(request), limit=settings.MAX_INSTANCE_BYTES):
            writer.write(data)
        spooled = writer.close()
    finally:
        writer.abandon()
    if not spooled.size:
        raise InvalidInputError("The request has no body: send an image.", "no-images")
    _, parameters = parse_header_parameters(request.headers.get("Content-Disposition", ""))
    name = parameters.get("filename", "")
    return ImageFile(display_name(name) if name else None, spooled.path)


def _form(request: HttpRequest, spool: Spool) -> list[ImageFile]:
    length = announced_length(request)
    handler = SpoolUploadHandler(request, spool, limit=settings.MAX_INSTANCE_BYTES, most=settings.PREDICT_MAX_IMAGES)
    # The stubs require a whole file object, but the parser only reads.
    body: Any = _Body(request, length)
    # The parser refuses a body of unknown length, so it gets the limit; `_Body` ends where the body ends.
    meta = {"CONTENT_TYPE": request.META["CONTENT_TYPE"], "CONTENT_LENGTH": length or settings.MAX_UPLOAD_BYTES}
    try:
        MultiPartParser(meta, body, [handler]).parse()
        body.exhaust()
    except (RequestDataTooBig, TooManyFieldsSent, TooManyFilesSent) as error:
        raise TooLargeError("The form has too many fields, or too much text in them.") from error
    except MultiPartParserError as error:
        raise InvalidInputError("The multipart body is malformed (RFC 7578).", "multipart-malformed") from error
    if handler.error is not None:
        raise handler.error
    if not handler.received:
        raise InvalidInputError("The form has no file: send each image as a file.", "no-images")
    return [ImageFile(received.name, received.spooled.path) for received in handler.received]


class _Body:
    """A file object for Django's parser that bounds the body and checks its length."""

    def __init__(self, stream: Stream, length: int | None) -> None:
        self._pieces = read_body(stream, length=length, limit=settings.MAX_UPLOAD_BYTES)
        self._rest = b""

    def read(self, size: int | None = None, /) -> bytes:
        if not self._rest:
            self._rest = next(self._pieces, b"")
        size = len(self._rest) if size is None else size
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    def exhaust(self) -> None:
        """Read to the end, so that a body that was cut off is noticed."""
        for _ in self._pieces:
            pass

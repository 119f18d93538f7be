"""Answers with files: single parts with ranges and ETags, and multipart/related bodies that are made piece by piece.

No part is held in memory. The web server spools a whole body before it sends its first byte
(``config/serving/exchange.py``), so an object that turns out to be damaged on the way still gets an error status.
"""

import re
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO, Final

from django.http import FileResponse, HttpResponse, HttpResponseBase, StreamingHttpResponse
from rest_framework.request import Request

BLOCK_BYTES: Final = 256 * 1024
_RANGE = re.compile(r"bytes=(?:([0-9]{1,15})-([0-9]{1,15})?|-([0-9]{1,15}))")


class MultipartBody:
    """The delimiters and headers of a multipart/related body (RFC 2387).

    Attributes:
        media_type: of the first part, which the Content-Type of the whole names.
    """

    def __init__(self, media_type: str) -> None:
        self.media_type = media_type
        self._boundary = f"checxray-{secrets.token_hex(16)}"

    @property
    def content_type(self) -> str:
        return f'multipart/related; type="{self.media_type}"; boundary={self._boundary}'

    def begin(self, content_type: str, location: str) -> bytes:
        """What stands before a part."""
        return (f"--{self._boundary}\r\nContent-Type: {content_type}\r\nContent-Location: {location}\r\n\r\n").encode()

    def end(self) -> bytes:
        return f"--{self._boundary}--\r\n".encode()


class _Pieces:
    """The pieces of a body. What they are read from is closed with the response, also where it was never read."""

    def __init__(self, pieces: Iterable[bytes], close: Callable[[], None]) -> None:
        self._pieces = pieces
        self.close = close

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._pieces)


def streamed(pieces: Iterable[bytes], content_type: str, files: ExitStack | None = None) -> HttpResponseBase:
    """A response that is made while it is read; ``files`` are closed with it."""
    found = pieces if files is None else _Pieces(pieces, files.close)
    return private(StreamingHttpResponse(found, content_type=content_type))


def blocks(file: BinaryIO, start: int = 0, length: int | None = None) -> Iterator[bytes]:
    """A file, or ``length`` bytes of it, in blocks."""
    file.seek(start)
    while length is None or length > 0:
        data = file.read(BLOCK_BYTES if length is None else min(BLOCK_BYTES, length))
        if not data:
            return
        if length is not None:
            length -= len(data)
        yield data


def file_blocks(path: Path, places: Iterable[tuple[int, int]] | None = None) -> Iterator[bytes]:
    """The blocks of a file, or of these places (start, length) in it."""
    with path.open("rb") as file:
        if places is None:
            yield from blocks(file)
            return
        for start, length in places:
            yield from blocks(file, start, length)


def not_modified(request: Request, etag: str) -> HttpResponseBase | None:
    """The answer 304 where the client has this representation already (RFC 9110 13.1.2)."""
    known = [each.strip().removeprefix("W/") for each in request.headers.get("If-None-Match", "").split(",")]
    if etag not in known and "*" not in known:
        return None
    response = HttpResponse(status=HTTPStatus.NOT_MODIFIED)
    response["ETag"] = etag
    return private(response)


def file_response(request: Request, path: Path, *, content_type: str, etag: str, location: str) -> HttpResponseBase:
    """A file as the single part, or the range of it that is asked for (RFC 9110 14).

    The file may be removed afterwards: the response has it open.
    """
    file, size = path.open("rb"), path.stat().st_size
    found = _requested_range(request, etag, size)
    if found is None:
        response: HttpResponseBase = FileResponse(file, content_type=content_type)
        # Django names the stored file; a client names what it gets by the address.
        response.headers.pop("Content-Disposition", None)
    elif found[0] > found[1]:
        file.close()
        response = HttpResponse(status=HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
        response["Content-Range"] = f"bytes */{size}"
        return private(response)
    else:
        first, last = found
        pieces = _Pieces(blocks(file, first, last - first + 1), file.close)
        response = StreamingHttpResponse(pieces, content_type=content_type, status=HTTPStatus.PARTIAL_CONTENT)
        response["Content-Range"] = f"bytes {first}-{last}/{size}"
        response["Content-Length"] = str(last - first + 1)
    response["Accept-Ranges"] = "bytes"
    response["ETag"] = etag
    response["Content-Location"] = location
    return private(response)


def _requested_range(request: Request, etag: str, size: int) -> tuple[int, int] | None:
    """First and last byte; None for the whole. A first one behind the last: the range is not satisfiable."""
    match = _RANGE.fullmatch(request.headers.get("Range", "").strip())
    if match is None or request.method != "GET" or request.headers.get("If-Range", etag) != etag:
        # Several ranges, other units and an outdated range are answered with the whole.
        return None
    first, last, suffix = match.groups()
    if suffix is not None:
        return max(0, size - int(suffix)), size - 1 if int(suffix) else -1
    end = min(int(last), size - 1) if last is not None else size - 1
    if last is not None and int(last) < int(first):
        return None
    return int(first), end


def private(response: HttpResponseBase) -> HttpResponseBase:
    """Let no shared cache keep what belongs to a patient, and let a browser ask again each time."""
    response["Cache-Control"] = "private, no-cache"
    return response

"""One request on one thread, from the call of the WSGI application (PEP 3333) to the answer's ``close()``.

The tenant's transaction and the database connection belong to the thread, so every step runs in the same thread.
"""

import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any
from urllib.parse import unquote_to_bytes

from config.serving.spooled import Quota, Spooled

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
# RFC 9110 6.4.1
_NO_CONTENT = 204
_NOT_MODIFIED = 304
# They have other names in the environ, or describe the transfer of the body and not the body.
_NOT_COPIED = {b"content-type", b"content-length", b"transfer-encoding"}


class FileWrapper:
    """``wsgi.file_wrapper``: a plain file is sent directly, without a copy in the spool."""

    def __init__(self, file: IO[bytes], block_size: int = 64 * 1024) -> None:
        self.file, self._block_size = file, block_size
        self.close = getattr(file, "close", lambda: None)

    def __iter__(self) -> Iterator[bytes]:
        while piece := self.file.read(self._block_size):
            yield piece

    def descriptor(self) -> tuple[int, int, int] | None:
        """A duplicate of the file's descriptor, its position and the bytes that follow; None for no plain file."""
        try:
            number, position = self.file.fileno(), self.file.tell()
        except (AttributeError, OSError):
            return None
        found = os.fstat(number)
        if not stat.S_ISREG(found.st_mode):
            return None
        return os.dup(number), position, max(found.st_size - position, 0)


class Answer:
    """Status, headers and body of an answer. The event loop sends it after the thread has finished."""

    def __init__(self, quota: Quota, address: str, *, is_head: bool = False) -> None:
        self.status = 500
        self.size = 0
        self._headers: list[tuple[str, str]] = []
        self._is_head = is_head
        self._spooled = Spooled(quota, address)
        self._descriptor: int | None = None
        self._position = 0

    def start(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], None]:
        """PEP 3333's ``start_response``."""
        self.status, self._headers = int(status.split(" ", 1)[0]), headers
        return self._add

    def store(self, result: Iterable[bytes]) -> None:
        """Spool the whole body.

        Raises:
            OutOfSpaceError, TooManyRequestsError: there is no space for it.
        """
        if self._is_head or self.status in (_NO_CONTENT, _NOT_MODIFIED):
            return
        plain = result.descriptor() if isinstance(result, FileWrapper) else None
        if plain is not None:
            self._descriptor, self._position, self.size = plain
            return
        for piece in result:
            self._add(piece)
        if self._spooled.in_file:
            self._spooled.flush()
        self.size = self._spooled.size

    def _add(self, data: bytes) -> None:
        self._spooled.add(data)
        if self._spooled.wants_flush:
            self._spooled.flush()

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The headers with the actual length of the body."""
        has_length = not self._is_head and self.status not in (_NO_CONTENT, _NOT_MODIFIED)
        kept = [
            (name.encode("latin-1"), value.encode("latin-1"))
            for name, value in self._headers
            if not (has_length and name.lower() == "content-length")
        ]
        return [*kept, (b"Content-Length", str(self.size).encode())] if has_length else kept

    @property
    def waits_for_disk(self) -> bool:
        """Whether ``read_at`` may block."""
        return self._descriptor is not None or self._spooled.in_file

    def read_at(self, offset: int, count: int) -> bytes:
        """A piece of the body."""
        if self._descriptor is None:
            return self._spooled.read_at(offset, count)
        return os.pread(self._descriptor, min(count, self.size - offset), self._position + offset)

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        self._spooled.close()


def call(application: Application, environ: dict[str, Any], body: Spooled, answer: Answer) -> Answer:
    """Call the application and store its answer; the body is closed afterwards."""
    try:
        environ["wsgi.input"] = body.open()
        result = application(environ, answer.start)
        try:
            answer.store(result)
        finally:
            close = getattr(result, "close", None)
            if close is not None:
                close()
    except BaseException:
        answer.close()
        raise
    finally:
        body.close()
    return answer


def environ_of(scope: dict[str, Any], body: Spooled, *, is_announced: bool) -> dict[str, Any]:
    """PEP 3333's environ of an ASGI scope. Its body is complete, so a chunked one has a length as well."""
    server = scope.get("server") or ("", None)
    client = scope.get("client") or ("", None)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(scope["raw_path"]).decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "SERVER_NAME": str(server[0]) or "localhost",
        "SERVER_PORT": str(server[1] or 0),
        "REMOTE_ADDR": str(client[0]),
        "REMOTE_PORT": str(client[1] or 0),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope["scheme"],
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
        "wsgi.file_wrapper": FileWrapper,
    }
    for name, value in scope["headers"]:
        if name == b"x-forwarded-proto" and scope["scheme"] == "https":
            # TLS ends in this process, so there is no trusted proxy in front that sets this header.
            continue
        text = value.decode("latin-1")
        if name == b"content-type":
            environ["CONTENT_TYPE"] = text
        elif name not in _NOT_COPIED:
            key = "HTTP_" + name.decode("latin-1").upper().replace("-", "_")
            separator = "; " if name == b"cookie" else ","
            environ[key] = f"{environ[key]}{separator}{text}" if key in environ else text
    if is_announced:
        environ["CONTENT_LENGTH"] = str(body.size)
    return environ

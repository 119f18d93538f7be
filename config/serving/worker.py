"""gunicorn's ASGI worker with protections for clients that connect directly, without a proxy."""

import asyncio
import contextlib
import json
import os
import socket
from http import HTTPStatus
from typing import Any, Final

from gunicorn.asgi import protocol as gunicorn_protocol
from gunicorn.asgi.parser import InvalidHeader, UnsupportedTransferCoding
from gunicorn.asgi.protocol import ASGIProtocol
from gunicorn.workers.gasgi import ASGIWorker

HEADER_SECONDS: Final = 10.0
"""The time for the headers of a request, from its first byte on; for the first request, from the connection on."""
UNACKNOWLEDGED_SECONDS: Final = 15
"""How long the kernel waits for a client that receives nothing (``TCP_USER_TIMEOUT``)."""
LINGER_SECONDS: Final = 2.0
"""How long a closed connection is still read, so that a sending client sees the answer and not a reset."""
FLUSH_SECONDS: Final = 30.0
"""How long the rest of an answer may take when its connection is closed."""
IDLE_SECONDS: Final = 2.0
"""How long a stopping worker keeps idle connections open: a request may be in transit."""

gunicorn_protocol._REASON_PHRASES.update(
    {status.value: status.phrase for status in HTTPStatus if status.value not in gunicorn_protocol._REASON_PHRASES}
)


class Protocol(ASGIProtocol):
    """One connection: deadlines, strict framing, and a close that lets the client read the answer."""

    def __init__(self, worker: "Worker") -> None:
        super().__init__(worker)
        self._header_timer: asyncio.TimerHandle | None = None
        self._close_timer: asyncio.TimerHandle | None = None
        self._close_started = 0.0
        self._is_answered = False

    def connection_made(self, transport: Any) -> None:
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_SECONDS * 1000)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        super().connection_made(transport)
        self.worker.waits(self)
        self._start_header_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self.worker.leaves(self)
        self._stop_header_timer()
        if self._close_timer is not None:
            self._close_timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        # Data after the end of the exchange is read and dropped.
        if not self._closed:
            super().data_received(data)

    def eof_received(self) -> bool:
        """Handle a client that closed its side: it may wait for the answer, but its body will not be completed."""
        if self._closed or self._is_ssl or self._current_request is None:
            return False
        self._current_request.must_close = True
        if not self._body_receiver._complete:
            self._body_receiver.signal_disconnect()
        return True

    def close_after_answer(self) -> None:
        """Announce with the answer that the connection is closed, and close it."""
        self._current_request.must_close = True

    def abort(self) -> None:
        """Close the connection at once and drop data that is not sent yet."""
        self._closed = True
        self.transport.abort()

    # Headers

    def _start_header_timer(self) -> None:
        self._header_timer = self.worker.loop.call_later(HEADER_SECONDS, self._header_timeout)

    def _stop_header_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _header_timeout(self) -> None:
        self._header_timer = None
        parser = self._callback_parser
        if parser._buffer or parser._state != "request_line":
            self._send_error_response(HTTPStatus.REQUEST_TIMEOUT, "The request's headers came too slowly.")
        self._close_transport()
        self._request_ready.set()

    def _arm_keepalive_timer(self) -> None:
        self.worker.waits(self)
        super()._arm_keepalive_timer()

    def _feed_callback_parser(self, data: bytes) -> bool:
        parser = self._callback_parser
        if parser._state == "body" and not parser._buffer and len(data) < parser._body_remaining:
            # In the middle of a large body, skip the parser, which would copy the data twice.
            parser._body_remaining -= len(data)
            self._on_body(data)
            return True
        try:
            goes_on = super()._feed_callback_parser(data)
        # The parser hands a Content-Length of thousands of digits to int(), for example.
        except Exception as error:
            self.log.debug("Malformed request: %s", type(error).__name__)
            self._send_error_response(HTTPStatus.BAD_REQUEST, "")
            self._close_transport()
            goes_on = False
        if not goes_on:
            # The task of this connection must not wait for another request.
            self._request_ready.set()
        elif self._current_request is None and self._header_timer is None:
            self._start_header_timer()
        return goes_on

    def _on_headers_complete(self) -> bool:
        parser = self._callback_parser
        codings = [value.lower() for name, value in parser.headers if name == b"transfer-encoding"]
        if codings and codings != [b"chunked"]:
            # gunicorn accepts "gzip, chunked" and would pass compressed bytes on as the body.
            raise UnsupportedTransferCoding("Only chunked is understood.")
        # RFC 9112 3.2
        if parser.http_version >= (1, 1) and not any(name == b"host" for name, _ in parser.headers):
            raise InvalidHeader("Host is missing.")
        skips = super()._on_headers_complete()
        if self._current_request.version < (1, 1):
            self._current_request.must_close = True
        self._is_answered = False
        self._stop_header_timer()
        self.worker.serves(self)
        return skips

    # Only HTTP/1 is supported; an Upgrade header may be ignored (RFC 9110 7.8).
    def _is_websocket_upgrade(self, request: Any) -> bool:
        return False

    def _build_http_scope(self, request: Any, sockname: Any, peername: Any) -> dict[str, Any]:
        scope = super()._build_http_scope(request, sockname, peername)
        # Two operations of the server that are not part of ASGI.
        return scope | {"extensions": {"connection.abort": self.abort, "connection.close": self.close_after_answer}}

    # Answers

    def _will_close(self, request: Any, response_requires_close: bool) -> bool:
        return self.worker.stopping or super()._will_close(request, response_requires_close)

    def _send_response_start(self, *args: Any, **kwargs: Any) -> None:
        self._is_answered = True
        super()._send_response_start(*args, **kwargs)

    def _send_error_response(self, status: int, message: str, extra_headers: Any = ()) -> None:
        """Send a problem document without content of the request, unless an answer has begun already."""
        if self._closed or (self._current_request is not None and self._is_answered):
            return
        phrase = HTTPStatus(status).phrase
        # In the form of `apps.core.problems`, which cannot be imported here, before Django is set up.
        document = {
            "type": "about:blank",
            "title": phrase,
            "status": int(status),
            "detail": "The request is malformed or incomplete (RFC 9112); the connection is closed.",
            "code": "malformed-request",
        }
        body = json.dumps(document).encode()
        head = (
            f"HTTP/1.1 {int(status)} {phrase}\r\nContent-Type: application/problem+json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        self._is_answered = True
        self._safe_write(head.encode("latin-1") + body)

    def _close_transport(self) -> None:
        if self.transport is None or self._closed:
            return
        self._closed = True
        self._stop_header_timer()
        if not self.transport.can_write_eof():
            self.transport.close()
        else:
            with contextlib.suppress(OSError, RuntimeError):
                self.transport.write_eof()
            self._resume_reading()
        self._close_started = self.worker.loop.time()
        self._close_timer = self.worker.loop.call_later(LINGER_SECONDS, self._finish_closing)

    def _finish_closing(self) -> None:
        is_late = self.worker.loop.time() - self._close_started > FLUSH_SECONDS
        if self.transport.get_write_buffer_size() and not is_late:
            self._close_timer = self.worker.loop.call_later(LINGER_SECONDS, self._finish_closing)
        else:
            self.transport.abort()


class SocketListener:
    """Accepts one connection in each cycle of the event loop, so that the workers share them evenly."""

    def __init__(self, worker: "Worker", sock: socket.socket, ssl_context: Any) -> None:
        self._worker, self._socket, self._ssl = worker, sock, ssl_context
        self.connecting: set[asyncio.Task[Any]] = set()
        self._resume()

    def _resume(self) -> None:
        self._worker.loop.add_reader(self._socket.fileno(), self._accept)

    def _accept(self) -> bool:
        """Accept one connection; return whether there was one."""
        try:
            connection, _ = self._socket.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return False
        except OSError as error:
            # No file descriptor is free: new connections wait in the kernel until others are closed.
            self._worker.log.warning("A connection could not be accepted: %s", error.strerror)
            self._worker.loop.remove_reader(self._socket.fileno())
            self._worker.loop.call_later(0.5, self._resume)
            return False
        if not self._worker.make_room():
            connection.close()
            return True
        connection.setblocking(False)
        options = {"ssl": self._ssl, "ssl_handshake_timeout": HEADER_SECONDS} if self._ssl is not None else {}
        coming = self._worker.loop.connect_accepted_socket(lambda: Protocol(self._worker), connection, **options)
        task = self._worker.loop.create_task(coming)
        self.connecting.add(task)
        task.add_done_callback(self._connected)
        return True

    def _connected(self, task: "asyncio.Task[Any]") -> None:
        self.connecting.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._worker.log.debug("A connection was not made: %s", type(task.exception()).__name__)

    def close(self) -> None:
        """Accept the connections that the kernel has accepted already, and no more."""
        self._worker.loop.remove_reader(self._socket.fileno())
        while self._accept():
            pass
        self._socket.close()


class Worker(ASGIWorker):
    """Limits its connections: an idle one is closed for a new one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # In the order in which they began to wait.
        self._waiting: dict[Protocol, None] = {}

    # gunicorn closes connections at once when their worker is not alive, although the client may have sent its next
    # request after an answer without "Connection: close". Here only `_will_close` ends connections.
    @property
    def alive(self) -> bool:
        return True

    @alive.setter
    def alive(self, is_alive: bool) -> None:
        self.stopping = not is_alive

    def waits(self, connection: Protocol) -> None:
        self._waiting.pop(connection, None)
        self._waiting[connection] = None

    def serves(self, connection: Protocol) -> None:
        self._waiting.pop(connection, None)

    def leaves(self, connection: Protocol) -> None:
        self._waiting.pop(connection, None)

    def make_room(self) -> bool:
        """Whether one more connection may be accepted; if needed, the connection that is idle longest is closed."""
        if self.nr_conns < self.worker_connections:
            return True
        longest = next(iter(self._waiting), None)
        if longest is None:
            return False
        self._waiting.pop(longest)
        longest.abort()
        return True

    async def _serve(self) -> None:
        ssl_context = self._get_ssl_context()
        self.servers = [SocketListener(self, each.sock, ssl_context) for each in self.sockets]
        while not self.stopping:
            self.notify()
            if self.ppid != os.getppid():
                break
            await asyncio.sleep(1.0)
        await self._shutdown()

    async def _shutdown(self) -> None:
        """Finish running requests; close idle connections after a moment."""
        for server in self.servers:
            server.close()
        await asyncio.gather(*(task for server in self.servers for task in server.connecting), return_exceptions=True)
        started = self.loop.time()
        while self.nr_conns and not self._quick_shutdown:
            elapsed = self.loop.time() - started
            if elapsed > self.cfg.graceful_timeout:
                break
            if elapsed > IDLE_SECONDS:
                for connection in list(self._waiting):
                    connection._close_transport()
            self.notify()
            await asyncio.sleep(0.1)

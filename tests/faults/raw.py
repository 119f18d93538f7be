"""Clients that send raw bytes: malformed, slow, or not reading."""

import contextlib
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def converse(port: int, request: bytes, patience: float = 2.0) -> tuple[list[int], bytes, bool]:
    """Send bytes and read until the server ends the connection, or is silent for so many seconds.

    Returns:
        The statuses of the answers, everything that came, and whether the connection was ended.
    """
    received = b""
    has_ended = False
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request)
        connection.settimeout(patience)
        with contextlib.suppress(TimeoutError):
            while piece := connection.recv(65536):
                received += piece
            has_ended = True
    statuses = [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3}) ", received)]
    return statuses, received, has_ended


class SlowClients:
    """Connections that never finish what they began; one thread drips for all of them."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._dripping: list[tuple[socket.socket, bytes]] = []
        self._others: list[socket.socket] = []
        self.kinds: dict[int, str] = {}
        """What each connection does, by its own port."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._drip)

    def silent(self) -> None:
        self._others.append(self._connect(b""))

    def half_header(self) -> None:
        self._dripping.append((self._connect(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "), b"x"))

    def dripping_body(self, path: str, headers: str = "") -> None:
        head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/dicom\r\n{headers}"
            "Content-Length: 1000000\r\n\r\n"
        )
        self._dripping.append((self._connect(head.encode()), b"x"))

    def chunk_by_chunk(self, path: str, headers: str = "") -> None:
        head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/dicom\r\n{headers}"
            "Transfer-Encoding: chunked\r\n\r\n"
        )
        self._dripping.append((self._connect(head.encode()), b"1\r\nx\r\n"))

    def reads_nothing(self, path: str, times: int = 20) -> None:
        request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
        self._others.append(self._connect(request * times, receive_buffer=4096))

    def _connect(self, first: bytes, receive_buffer: int | None = None) -> socket.socket:
        connection = socket.socket()
        if receive_buffer is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.settimeout(10)
        connection.connect(("127.0.0.1", self._port))
        self.kinds[connection.getsockname()[1]] = first[:60].decode("latin-1") or "silent"
        connection.sendall(first)
        connection.setblocking(False)
        return connection

    def _drip(self) -> None:
        while not self._stop.wait(0.5):
            for connection, drop in self._dripping:
                with contextlib.suppress(OSError):
                    connection.send(drop)

    def __enter__(self) -> "SlowClients":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        for connection in [each for each, _ in self._dripping] + self._others:
            connection.close()


@contextmanager
def in_parallel(jobs: list[Callable[[], None]]) -> Iterator[None]:
    threads = [threading.Thread(target=job) for job in jobs]
    for thread in threads:
        thread.start()
    yield
    for thread in threads:
        thread.join()


def seconds_of(call: Callable[[], object]) -> float:
    started = time.monotonic()
    call()
    return time.monotonic() - started

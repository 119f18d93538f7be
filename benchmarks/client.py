"""A DICOMweb client with a fixed number of persistent connections."""

import http.client
import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import TypeVar
from urllib.parse import urlsplit

Item = TypeVar("Item")

BOUNDARY = "benchmark-boundary"
CONTENT_TYPE = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'


_HEAD = f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
_TAIL = f"\r\n--{BOUNDARY}--\r\n".encode()


def store_all(url: str, path: str, instances: Sequence[bytes], headers: dict[str, str], connections: int = 4) -> None:
    """Send every instance in a STOW-RS request of its own over a number of connections.

    Raises:
        RuntimeError: one was not answered with 200.
    """

    def store(connection: http.client.HTTPConnection, instance: bytes) -> None:
        # Three parts: joining them would copy the instance, and the client shares the cores with the server.
        length = str(len(_HEAD) + len(instance) + len(_TAIL))
        own = {"Content-Type": CONTENT_TYPE, "Content-Length": length, **headers}
        connection.request("POST", path, (_HEAD, instance, _TAIL), own)

    _request_all(url, instances, store, connections)


def get_all(url: str, paths: Sequence[str], headers: dict[str, str], connections: int = 4) -> None:
    """Fetch every path over a number of connections, and read the whole answers.

    Raises:
        RuntimeError: one was not answered with 200.
    """

    def get(connection: http.client.HTTPConnection, path: str) -> None:
        connection.request("GET", path, headers=headers)

    _request_all(url, paths, get, connections)


def _request_all(
    url: str, items: Sequence[Item], request: Callable[[http.client.HTTPConnection, Item], None], connections: int
) -> None:
    waiting: SimpleQueue[Item] = SimpleQueue()
    for item in items:
        waiting.put(item)
    failures: list[str] = []

    def work() -> None:
        parts = urlsplit(url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=120)
        while not failures:
            try:
                item = waiting.get_nowait()
            except Empty:
                break
            request(connection, item)
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != 200:
                failures.append(f"{answer.status}: {body[:300]!r}")
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise RuntimeError(f"A request was refused: {failures[0]}")

"""A STOW-RS client with a fixed number of persistent connections."""

import http.client
import threading
from collections.abc import Sequence
from queue import Empty, SimpleQueue
from urllib.parse import urlsplit

BOUNDARY = "benchmark-boundary"
CONTENT_TYPE = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'


_HEAD = f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
_TAIL = f"\r\n--{BOUNDARY}--\r\n".encode()


def store_all(url: str, path: str, instances: Sequence[bytes], headers: dict[str, str], connections: int = 4) -> None:
    """Send every instance in a request of its own over a number of connections.

    Raises:
        RuntimeError: one was not answered with 200.
    """
    waiting: SimpleQueue[bytes] = SimpleQueue()
    for instance in instances:
        waiting.put(instance)
    failures: list[str] = []

    def send() -> None:
        parts = urlsplit(url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=120)
        while not failures:
            try:
                instance = waiting.get_nowait()
            except Empty:
                break
            # Three parts: joining them would copy the instance, and the client shares the cores with the server.
            length = str(len(_HEAD) + len(instance) + len(_TAIL))
            own = {"Content-Type": CONTENT_TYPE, "Content-Length": length, **headers}
            connection.request("POST", path, (_HEAD, instance, _TAIL), own)
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != 200:
                failures.append(f"{answer.status}: {body[:300]!r}")
        connection.close()

    threads = [threading.Thread(target=send) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise RuntimeError(f"STOW was refused: {failures[0]}")

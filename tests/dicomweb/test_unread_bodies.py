"""A client that sends more than the server reads still gets the answer and keeps the connection."""

import http.client
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.dicomweb.web import MULTIPART, WebServer

MANY = b"x" * (20 * 1024 * 1024)
PLACES = [
    ("/api/v1/predict", {"Content-Type": "image/png"}, 401),
    ("/dicom-web/studies", {"Content-Type": MULTIPART}, 401),
    ("/api/v1/nowhere/", {"Content-Type": "image/png"}, 404),
]


def connection_to(web: WebServer) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", web.port, timeout=30)


def in_chunks() -> Iterator[bytes]:
    for _ in range(20):
        yield MANY[: 1024 * 1024]


@pytest.mark.parametrize(("path", "headers", "status"), PLACES)
@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_refused_upload_is_answered_and_the_connection_goes_on(
    web: WebServer, path: str, headers: dict[str, str], status: int, is_chunked: bool
) -> None:
    connection = connection_to(web)
    for _ in range(3):
        connection.request("POST", path, in_chunks() if is_chunked else MANY, headers, encode_chunked=is_chunked)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == status
        sock: Any = connection.sock
        assert sock is not None, "The server closed it."
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        answer.read()
        assert (answer.status, connection.sock) == (200, sock)
    connection.close()


def test_one_who_stalls_is_answered_at_once_and_cut_off_later(web: WebServer) -> None:
    from config.serving.adapter import DISCARD_SECONDS as SECONDS

    with socket.create_connection(("127.0.0.1", web.port), 5) as stalling:
        stalling.sendall(b"POST /api/v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n\r\nfew")
        assert b" 401 " in stalling.recv(65536).split(b"\r\n")[0]
        stalling.settimeout(SECONDS + 20)
        started = time.monotonic()
        while stalling.recv(65536):
            pass
        assert time.monotonic() - started > SECONDS / 2

"""The web server as in production, and a small client that can also misbehave."""

import os
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import requests

from config.processes import ENVIRONMENT, command

PROJECT_ROOT = Path(__file__).resolve().parent.parent.parent
BOUNDARY = "checxray-test-boundary"
MULTIPART = f'multipart/related; type="application/dicom"; boundary="{BOUNDARY}"'


def multipart(films: Iterable[bytes], boundary: str = BOUNDARY) -> bytes:
    """The body of a Store Instances request."""
    parts = [
        b"--" + boundary.encode() + b"\r\nContent-Type: application/dicom\r\n\r\n" + film + b"\r\n" for film in films
    ]
    return b"".join([*parts, b"--" + boundary.encode() + b"--\r\n"])


def values(dataset: dict[str, Any], tag: str) -> list[Any]:
    return dataset.get(tag, {}).get("Value", [])


@dataclass
class WebServer:
    """A running gunicorn."""

    port: int
    process: subprocess.Popen

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stow(self, api_key: str, films: Iterable[bytes], study: str = "", **headers: str) -> requests.Response:
        return requests.post(
            f"{self.url}/dicom-web/studies{study}",
            data=multipart(films),
            headers={"Authorization": f"Bearer {api_key}", "Content-Type": MULTIPART, **headers},
            timeout=30,
        )

    def workers(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children()

    def resident_bytes(self) -> int:
        return sum(worker.memory_info().rss for worker in self.workers())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def running_web_server(workers: int = 1, threads: int = 4, **variables: str) -> Iterator[WebServer]:
    """gunicorn as production starts it, on the embedded servers of this process's home."""
    port = free_port()
    environment = (
        ENVIRONMENT
        | os.environ
        | {
            "BIND": f"127.0.0.1:{port}",
            "WEB_WORKERS": str(workers),
            "WEB_THREADS": str(threads),
        }
        | variables
    )
    process = subprocess.Popen(
        command("web"),
        cwd=PROJECT_ROOT,
        env=environment,
    )
    try:
        _wait_for_port(port, process)
        yield WebServer(port, process)
    finally:
        process.terminate()
        process.wait(timeout=30)


def _wait_for_port(port: int, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
                connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
                # A server with TLS ends the connection.
                connection.recv(1)
                return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("gunicorn did not start.")

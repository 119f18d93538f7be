"""A receiver of webhooks on the loopback interface: it answers as a test says, and stores the messages."""

import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Receiver:
    def __init__(self) -> None:
        self.answers: list[int] = []
        self.bodies: list[bytes] = []
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.slowly = False
        self.port = 0
        self.scheme = "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/hook?from=checxray"


@contextmanager
def receiver(tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    state = Receiver()
    state.scheme = "https" if tls else "http"

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            state.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
            status = state.answers.pop(0) if state.answers else 200
            if state.slowly:
                self._drip()
                return
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", state.url)
            self.end_headers()
            self.wfile.write(state.bodies.pop(0) if state.bodies else b"")

        def _drip(self) -> None:
            """A byte of a header at a time: no single read takes long."""
            try:
                for letter in b"HTTP/1.1 200 OK\r\nX-Long: " + b"a" * 100:
                    self.wfile.write(bytes([letter]))
                    self.wfile.flush()
                    time.sleep(0.1)
            except OSError:
                return

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    state.port = server.server_port
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()

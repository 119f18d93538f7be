"""A TCP proxy in front of a server that can stall, cut and slow down the data."""

import contextlib
import socket
import threading
import time
from typing import Self

_BLOCK = 16 * 1024


class TcpProxy:
    """``mode`` is pass, hang, cut (after ``cut_after`` bytes of an answer) or drip, also for open connections."""

    def __init__(self, port: int) -> None:
        self._upstream = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.mode = "pass"
        self.cut_after = 20_000
        self._open: list[socket.socket] = []

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self.drop_connections()

    def drop_connections(self) -> None:
        """Close what is open, so that the next request makes a connection in the new mode."""
        while self._open:
            _close(self._open.pop())

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._upstream))
            self._open += [client, server]
            threading.Thread(target=self._pump, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self._pump, args=(server, client, True), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, is_answer: bool) -> None:
        passed = 0
        try:
            while data := source.recv(_BLOCK):
                while self.mode == "hang":
                    time.sleep(0.05)
                if self.mode == "drip" and is_answer:
                    for at in range(0, len(data), 200):
                        target.sendall(data[at : at + 200])
                        time.sleep(0.3)
                    continue
                target.sendall(data)
                passed += len(data)
                if self.mode == "cut" and is_answer and passed > self.cut_after:
                    break
        except OSError:
            pass
        _close(source)
        _close(target)


def _close(each: socket.socket) -> None:
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()

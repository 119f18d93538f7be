"""PDUs as bytes, for peers that do what libraries do not allow (PS3.8 9.3)."""

import socket
import ssl
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.conftest import PEER

IMPLICIT = b"1.2.840.10008.1.2"
VERIFICATION = b"1.2.840.10008.1.1"
ASSOCIATE_AC, ASSOCIATE_RJ, P_DATA, RELEASE_RP, ABORT = 2, 3, 4, 6, 7


def item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(value)) + value


def pdu(kind: int, value: bytes = bytes(4)) -> bytes:
    return struct.pack(">BxI", kind, len(value)) + value


def associate_rq(
    called: str = "NORTH", calling: str = PEER, *, version: int = 1, max_length: int = 16384, padding: bytes = b" "
) -> bytes:
    """An A-ASSOCIATE-RQ that proposes verification, as context 1."""
    titles = b"".join(title.encode().ljust(16, padding) for title in (called, calling))
    context = item(0x20, b"\1\0\0\0" + item(0x30, VERIFICATION) + item(0x40, IMPLICIT))
    user = item(0x50, item(0x51, struct.pack(">I", max_length)) + item(0x52, b"1.2.3.4"))
    items = item(0x10, b"1.2.840.10008.3.1.1.1") + context + user
    return pdu(1, struct.pack(">H2x", version) + titles + bytes(32) + items)


def p_data(fragment: bytes, control: int, context: int = 1) -> bytes:
    return pdu(P_DATA, struct.pack(">IBB", len(fragment) + 2, context, control) + fragment)


def echo_rq(message_id: int = 1) -> bytes:
    """A C-ECHO-RQ, whole (PS3.7 9.3.5)."""
    uid = VERIFICATION + b"\0"
    elements = struct.pack("<HHI", 0, 2, len(uid)) + uid
    elements += b"".join(
        struct.pack("<HHIH", 0, tag, 2, value) for tag, value in ((0x100, 0x30), (0x110, message_id), (0x800, 0x101))
    )
    return p_data(struct.pack("<HHII", 0, 0, 4, len(elements)) + elements, 0b11)


class Peer:
    """A socket that reads whole PDUs."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=15)
        if tls is not None:
            try:
                self.socket = tls.wrap_socket(self.socket)
            except OSError:
                self.socket.close()
                raise

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def read(self) -> tuple[int, bytes] | None:
        """Type and value of the next PDU; None at the end of the connection."""
        header = self._exactly(6)
        if header is None:
            return None
        kind, length = struct.unpack(">BxI", header)
        value = self._exactly(length)
        assert value is not None
        return kind, value

    def ask(self, data: bytes) -> tuple[int, bytes] | None:
        self.send(data)
        return self.read()

    def seconds_until_closed(self) -> float:
        started = time.monotonic()
        try:
            while self.socket.recv(1000):
                pass
        except ConnectionResetError:
            pass
        return time.monotonic() - started

    def _exactly(self, count: int) -> bytes | None:
        data = b""
        while len(data) < count:
            try:
                more = self.socket.recv(count - len(data))
            except ConnectionResetError:
                return None
            if not more:
                return None
            data += more
        return data


@contextmanager
def peer(port: int, tls: ssl.SSLContext | None = None) -> Iterator[Peer]:
    opened = Peer(port, tls)
    try:
        yield opened
    finally:
        opened.socket.close()

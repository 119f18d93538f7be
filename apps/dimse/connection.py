"""One connection of a peer: reads its whole A-ASSOCIATE-RQ, then passes its PDUs on to pynetdicom, one by one.

pynetdicom 3.0.4 gives each connection two threads, which wait for the rest of a PDU, and accepts any length. Here a
connection costs a few kilobytes until a listed peer has requested an association, and its data is bounded in size and
time.
"""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from enum import Enum, auto
from typing import Any, Final, Protocol, cast

from apps.dimse.pdu import (
    HEADER_BYTES,
    MAX_REQUEST_BYTES,
    AbortReason,
    AssociateRequest,
    PduError,
    PduType,
    a_abort,
    ends_data_set,
    parse_pdu_header,
    parse_request,
)
from apps.routing.peer_fields import Address

MAX_PDU_BYTES: Final = 256 * 1024
# From the connection to the end of its A-ASSOCIATE-RQ, a TLS handshake included.
REQUEST_SECONDS: Final = 5
# Between two messages.
IDLE_SECONDS: Final = 60
# Inside a message: after these first seconds, so many bytes a second on average.
GRACE_SECONDS: Final = 10
SLOWEST_BYTES_PER_SECOND: Final = 16 * 1024
# How long a peer may take to close after our last PDU; closing at once could destroy that PDU on its way.
CLOSING_SECONDS: Final = 1
_RELEASE_OR_ABORT_BYTES: Final = 4
_IN_AN_ASSOCIATION: Final = frozenset({PduType.P_DATA, PduType.RELEASE_RQ, PduType.RELEASE_RP, PduType.ABORT})


class State(Enum):
    REQUESTING = auto()
    DECIDING = auto()
    ASSOCIATED = auto()
    CLOSING = auto()
    CLOSED = auto()


class Owner(Protocol):
    """The events that a connection reports to the acceptor."""

    def on_request(self, connection: "Connection", request: AssociateRequest) -> None: ...
    def on_closing(self, connection: "Connection") -> None: ...
    def on_closed(self, connection: "Connection") -> None: ...


class TransferRate:
    """The rate at which the peer sends a message. Time in which we did not read from its socket does not count."""

    def __init__(self) -> None:
        self._began: float | None = None
        self._bytes = 0

    def receive(self, count: int, now: float) -> None:
        if self._began is None:
            self._began, self._bytes = now, 0
        self._bytes += count

    def end_message(self) -> None:
        self._began = None

    def exclude(self, seconds: float) -> None:
        if self._began is not None:
            self._began += seconds

    def is_too_slow(self, now: float) -> bool:
        allowed = max(GRACE_SECONDS, self._bytes / SLOWEST_BYTES_PER_SECOND)
        return self._began is not None and now - self._began > allowed


class Connection(asyncio.Protocol):
    """The connection to the peer. Until ``serve`` connects it to pynetdicom, it accepts only an A-ASSOCIATE-RQ."""

    def __init__(
        self, owner: Owner, accepted: socket.socket, address: Address, port: int, now: Callable[[], float]
    ) -> None:
        self.address = address
        self.port = port
        self.state = State.REQUESTING
        self.transport: asyncio.Transport | None = None
        self._owner = owner
        self._accepted = accepted
        self._now = now
        self._deadline = now() + REQUEST_SECONDS
        self._buffer = bytearray()
        self._pace = TransferRate()
        self._scp: ScpSide | None = None
        self._last_byte = now()
        self._stopped_reading: float | None = None
        self._cannot_write_since: float | None = None
        self._peer_has_ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def client_certificate(self) -> tuple[bytes, Any]:
        """The verified client certificate as DER, and as ``ssl.SSLSocket.getpeercert`` reads it; empty without TLS."""
        tls = self.transport.get_extra_info("ssl_object") if self.transport else None
        return ((tls.getpeercert(binary_form=True) or b""), tls.getpeercert()) if tls else (b"", None)

    def data_received(self, data: bytes) -> None:
        if self.state in (State.CLOSING, State.CLOSED):
            return
        self._buffer += data
        self._last_byte = self._now()
        try:
            if self.state is State.ASSOCIATED:
                self._pace.receive(len(data), self._last_byte)
                self._pass_on()
            else:
                self._read_request()
        except PduError as error:
            self.finish(a_abort(error.reason))

    def _read_request(self) -> None:
        if self.state is State.DECIDING:
            # The peer must wait for the answer (PS3.8 9.2.3, Sta5).
            raise PduError(AbortReason.UNEXPECTED_PDU)
        if len(self._buffer) < HEADER_BYTES:
            return
        kind, length = parse_pdu_header(self._buffer)
        if kind is not PduType.ASSOCIATE_RQ:
            raise PduError(AbortReason.UNEXPECTED_PDU)
        if length > MAX_REQUEST_BYTES:
            raise PduError(AbortReason.INVALID_PARAMETER_VALUE)
        if len(self._buffer) < HEADER_BYTES + length:
            return
        if len(self._buffer) > HEADER_BYTES + length:
            raise PduError(AbortReason.UNEXPECTED_PDU)
        request = parse_request(bytes(self._buffer))
        self._buffer.clear()
        self.state = State.DECIDING
        self._owner.on_request(self, request)

    def _pass_on(self) -> None:
        """Pass every complete PDU of the buffer to pynetdicom, after a check of its type, length and fragments."""
        start = 0
        while len(self._buffer) - start >= HEADER_BYTES:
            kind, length = parse_pdu_header(self._buffer[start : start + HEADER_BYTES])
            if kind not in _IN_AN_ASSOCIATION:
                raise PduError(AbortReason.UNEXPECTED_PDU)
            if length > (MAX_PDU_BYTES if kind is PduType.P_DATA else _RELEASE_OR_ABORT_BYTES):
                raise PduError(AbortReason.INVALID_PARAMETER_VALUE)
            end = start + HEADER_BYTES + length
            if end > len(self._buffer):
                break
            if kind is not PduType.P_DATA or ends_data_set(self._buffer, start, end):
                self._pace.end_message()
            start = end
        if start:
            assert self._scp is not None
            self._scp.write(bytes(self._buffer[:start]))
            del self._buffer[:start]

    def serve(self, scp: "ScpSide") -> None:
        """Connect the peer with pynetdicom."""
        self._scp = scp
        self.state = State.ASSOCIATED
        self._last_byte = self._now()

    def answer(self, data: bytes) -> None:
        """Send an answer of pynetdicom to the peer."""
        if self.state is State.ASSOCIATED and self.transport is not None:
            self._last_byte = self._now()
            if not self._buffer:
                self._pace.end_message()
            self.transport.write(data)

    def stop_reading(self) -> None:
        """Pause reading, because pynetdicom is slower than the peer."""
        if self.state is State.ASSOCIATED and self.transport is not None and self._stopped_reading is None:
            self._stopped_reading = self._now()
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        if self._stopped_reading is None or self.transport is None:
            return
        self._last_byte = self._now()
        self._pace.exclude(self._last_byte - self._stopped_reading)
        self._stopped_reading = None
        self.transport.resume_reading()

    def pause_writing(self) -> None:
        """Stop reading from pynetdicom, because the peer does not read our answers."""
        self._cannot_write_since = self._now()
        if self._scp is not None:
            self._scp.stop_reading()

    def resume_writing(self) -> None:
        self._cannot_write_since = None
        if self._scp is not None:
            self._scp.resume_reading()

    def finish(self, last: bytes = b"") -> None:
        """Send a last PDU and the end of the stream, and give the peer a moment to close."""
        if self.state in (State.CLOSING, State.CLOSED):
            return
        self.resume_reading()
        self._leave(State.CLOSING)
        self._deadline = self._now() + CLOSING_SECONDS
        if self.transport is None or self.transport.is_closing():
            return
        self.transport.write(last)
        if self._peer_has_ended or not self.transport.can_write_eof():
            # TLS sends its own close message, and waits for the peer's.
            self.transport.close()
        else:
            self.transport.write_eof()

    def drop(self) -> None:
        """Close at once, without a PDU."""
        if self.transport is not None:
            self.transport.abort()
        else:
            # Ends a TLS handshake.
            with suppress(OSError):
                self._accepted.shutdown(socket.SHUT_RDWR)
        self._closed()

    def check(self, now: float) -> None:
        """End the connection where a timeout has passed; called several times a second."""
        if self.state in (State.REQUESTING, State.CLOSING):
            if now > self._deadline:
                self.drop()
        elif self.state is State.ASSOCIATED:
            if self._cannot_write_since is not None and now - self._cannot_write_since > IDLE_SECONDS:
                self.drop()
            elif self._stopped_reading is None and (
                self._pace.is_too_slow(now) or now - self._last_byte > IDLE_SECONDS
            ):
                self.finish(a_abort(AbortReason.NOT_SPECIFIED))

    def eof_received(self) -> bool:
        self._peer_has_ended = True
        if self.state is State.ASSOCIATED and self._scp is not None:
            # pynetdicom still reads what the peer sent, and answers if the peer still reads.
            self._scp.end_of_input()
            return self.transport is not None and self.transport.can_write_eof()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed()

    def scp_closed(self) -> None:
        """Close the connection, because pynetdicom has ended the association."""
        self._scp = None
        self.finish()

    def _closed(self) -> None:
        if self.state is not State.CLOSED:
            self._leave(State.CLOSED)
            self._owner.on_closed(self)

    def _leave(self, state: State) -> None:
        self.state = state
        self._buffer = bytearray()
        scp, self._scp = self._scp, None
        if scp is not None:
            scp.close()
        if state is State.CLOSING:
            self._owner.on_closing(self)


class ScpSide(asyncio.Protocol):
    """Our end of the socket pair whose other end pynetdicom uses for one association."""

    def __init__(self, connection: Connection, on_closed: Callable[[], None]) -> None:
        self._connection = connection
        self._on_closed = on_closed
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        self._connection.answer(data)

    def pause_writing(self) -> None:
        self._connection.stop_reading()

    def resume_writing(self) -> None:
        self._connection.resume_reading()

    def stop_reading(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    def end_of_input(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write_eof()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.scp_closed()
        self._on_closed()

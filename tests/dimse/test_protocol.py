"""Malformed, slow and unexpected PDUs (PS3.8): each ends the association correctly, and the listener goes on."""

import struct
import time
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Hospital
from tests.dimse import wire
from tests.dimse.listening import ListenerProcess
from tests.dimse.test_listener import left_over

ABORTED_AS = {"unrecognised": 1, "unexpected": 2, "invalid": 6}
RELEASE_RQ = wire.pdu(5)
RELEASE_RP = wire.pdu(6)
COMMAND = struct.pack("<HHII", 0, 0, 4, 0)


def aborted(answer: tuple[int, bytes] | None) -> int:
    """The reason of an A-ABORT by the service provider."""
    assert answer is not None
    assert (answer[0], answer[1][2]) == (wire.ABORT, 2)
    return answer[1][3]


def cut(request: bytes, end: int) -> bytes:
    """The PDU without its last bytes, and with the length of what is left."""
    return request[:2] + struct.pack(">I", end - 6) + request[6:end]


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "unrecognised"),
        (struct.pack(">BxI", 4, 0xFFFFFFF0), "unexpected"),
        (struct.pack(">BxI", 1, 0xFFFFFFF0), "invalid"),
        (struct.pack(">BxI", 1, 64 * 1024 + 1), "invalid"),
        (RELEASE_RQ, "unexpected"),
        (wire.pdu(1), "invalid"),
        (cut(wire.associate_rq(), 100), "invalid"),
        (wire.associate_rq() + RELEASE_RQ, "unexpected"),
    ],
)
def test_what_begins_no_association(listener: ListenerProcess, north: Hospital, first: bytes, reason: str) -> None:
    with wire.peer(listener.port) as caller:
        assert aborted(caller.ask(first)) == ABORTED_AS[reason]
        assert caller.seconds_until_closed() < 3


@pytest.mark.parametrize(
    ("then", "reason"),
    [
        (struct.pack(">BxI", 4, 0xFFFFFFF0), "invalid"),
        (struct.pack(">BxI", 4, 256 * 1024 + 1), "invalid"),
        (struct.pack(">BxI", 5, 5) + bytes(5), "invalid"),
        (struct.pack(">BxI", 9, 4) + bytes(4), "unrecognised"),
        (wire.associate_rq(), "unexpected"),
        (wire.pdu(wire.P_DATA, struct.pack(">IBB", 100, 1, 3)), "invalid"),
        (wire.pdu(wire.P_DATA, struct.pack(">IBB", 0, 1, 3)), "invalid"),
    ],
)
def test_what_ends_an_association(listener: ListenerProcess, north: Hospital, then: bytes, reason: str) -> None:
    with wire.peer(listener.port) as caller:
        accepted = caller.ask(wire.associate_rq())
        assert accepted is not None
        assert accepted[0] == wire.ASSOCIATE_AC
        assert aborted(caller.ask(then)) == ABORTED_AS[reason]
        assert caller.seconds_until_closed() < 3
    assert listener.echo("NORTH") == 0x0000


def test_what_no_association_survives_and_nothing_is_left(
    listener: ListenerProcess, north: Hospital, settings: Any
) -> None:
    """Each ends the association in pynetdicom's hands; the peer's own abort is not answered."""
    store = wire.p_data(COMMAND, 0b11) + wire.p_data(bytes(5000), 0b00)
    for sent in (wire.pdu(wire.ABORT), store + wire.pdu(wire.ABORT), RELEASE_RP, RELEASE_RQ + RELEASE_RP):
        with wire.peer(listener.port) as caller:
            caller.ask(wire.associate_rq())
            caller.send(sent)
            assert caller.seconds_until_closed() < 5, sent[:8]
    assert left_over(Path(settings.SPOOL_DIR)) == []
    assert listener.echo("NORTH") == 0x0000


@pytest.mark.parametrize(("version", "kind"), [(0, wire.ASSOCIATE_RJ), (2, wire.ASSOCIATE_RJ), (3, wire.ASSOCIATE_AC)])
def test_version_1_of_the_protocol_is_one_bit(
    listener: ListenerProcess, north: Hospital, version: int, kind: int
) -> None:
    with wire.peer(listener.port) as caller:
        answer = caller.ask(wire.associate_rq(version=version))
        assert answer is not None
        assert answer[0] == kind
        if kind == wire.ASSOCIATE_RJ:
            assert answer[1] == bytes([0, 1, 2, 2])


def test_a_peer_without_a_maximum_length_and_with_one_message_id_for_all(
    listener: ListenerProcess, north: Hospital
) -> None:
    with wire.peer(listener.port) as caller:
        caller.ask(wire.associate_rq(max_length=0))
        for _ in range(3):
            answer = caller.ask(wire.echo_rq(7))
            assert answer is not None
            assert answer[0] == wire.P_DATA
        # Byte by byte, and two at once.
        for byte in wire.echo_rq(7):
            caller.send(bytes([byte]))
        assert caller.read() is not None
        caller.send(wire.echo_rq(7) * 2)
        assert caller.read() is not None
        assert caller.read() is not None
        assert caller.ask(RELEASE_RQ) == (wire.RELEASE_RP, bytes(4))
        assert caller.seconds_until_closed() < 3


def test_a_request_that_does_not_end_is_cut(listener: ListenerProcess, north: Hospital) -> None:
    request = wire.associate_rq()
    started = time.monotonic()
    with wire.peer(listener.port) as silent, wire.peer(listener.port) as dripping:
        dripping.socket.settimeout(0.2)
        sent = 0
        while time.monotonic() - started < 8:
            try:
                dripping.send(request[sent : sent + 1])
                sent += 1
                if not dripping.socket.recv(1):
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        assert 4 < time.monotonic() - started < 7
        assert silent.seconds_until_closed() < 2

"""Access control of the DIMSE port: listed peers are accepted; all others get the same answer, and are audited."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from pydicom.dataset import Dataset

from apps.audit.models import AuditEvent
from apps.routing.models import Peer, Refusal
from apps.tenants.scope import tenant_tx
from tests.conftest import PEER, Hospital
from tests.dimse import wire
from tests.dimse.listening import ListenerProcess, drop, listener_process

UNIFORM = (wire.ASSOCIATE_RJ, bytes([0, 1, 1, 1]))
LOCAL_LIMIT = (wire.ASSOCIATE_RJ, bytes([0, 2, 3, 2]))
SECONDS_TO_NOTE = 5


def refusals(hospital: Hospital) -> list[tuple[str, int]]:
    """Actor and amount of the lines of audit."""
    with tenant_tx(hospital.tenant.id):
        lines = AuditEvent.objects.filter(action=AuditEvent.Action.PEER_REFUSED).order_by("at")
        assert {line.address for line in lines} <= {"127.0.0.1"}
        return [(line.actor, line.amount) for line in lines]


def eventually(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + SECONDS_TO_NOTE
    while not (found := condition()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def test_all_who_are_not_listed_get_one_answer(listener: ListenerProcess, north: Hospital, south: Hospital) -> None:
    with tenant_tx(north.tenant.id):
        Peer(ae_title="ELSEWHERE", network="192.0.2.0/24").save()
        Peer(ae_title="WITH_TLS", network="127.0.0.0/8", certificate="CN=ct1").save()
    south.tenant.is_active = False
    south.tenant.save()
    callers = [
        ("NORTH", "STRANGER"),
        ("NORTH", PEER.lower()),
        ("NORTH", "ELSEWHERE"),
        ("NORTH", "WITH_TLS"),
        ("NORTH", ""),
        ("NORTH", "MODAL\\ITY"),
        ("SOUTH", PEER),
        ("NOBODY", PEER),
        ("", PEER),
    ]
    for called, calling in callers:
        started = time.monotonic()
        with wire.peer(listener.port) as caller:
            assert caller.ask(wire.associate_rq(called, calling)) == UNIFORM, (called, calling)
            # An answer that is not sooner for one than for another says nothing of which list was looked at.
            assert time.monotonic() - started > 0.09
            assert caller.read() is None
    expected = {"dimse:STRANGER", "dimse:modality", "dimse:ELSEWHERE", "dimse:WITH_TLS", "dimse:", "dimse:MODAL\\ITY"}
    assert eventually(lambda: {actor for actor, _ in refusals(north)} >= expected)
    assert {actor for actor, _ in refusals(north)} == expected
    assert eventually(lambda: refusals(south)) == [(f"dimse:{PEER}", 1)]
    with tenant_tx(north.tenant.id):
        why = dict(Refusal.objects.values_list("ae_title", "reason"))
        assert (why["STRANGER"], why["ELSEWHERE"], why["WITH_TLS"]) == (
            "not-listed", "other-address", "other-certificate",
        )  # fmt: skip
        assert set(Refusal.objects.values_list("address", flat=True)) == {"127.0.0.1"}


def test_two_tenants_may_list_the_same_peer_and_it_is_seen(
    listener: ListenerProcess, north: Hospital, south: Hospital
) -> None:
    for called, hospital in (("NORTH", north), ("SOUTH", south)):
        assert listener.echo(called) == 0x0000
        with tenant_tx(hospital.tenant.id):
            assert eventually(lambda: Peer.objects.get().last_seen)


def test_refusals_of_a_minute_are_one_line(north: Hospital) -> None:
    with listener_process() as listener:
        for number in range(20):
            with wire.peer(listener.port) as caller:
                assert caller.ask(wire.associate_rq("NORTH", "STRANGER")) == UNIFORM
            if not number:
                assert eventually(lambda: refusals(north)) == [("dimse:STRANGER", 1)]
    # The end of the listener writes what it has counted.
    assert refusals(north) == [("dimse:STRANGER", 1), ("dimse:STRANGER", 19)]
    with tenant_tx(north.tenant.id):
        assert Refusal.objects.get().amount == 20


def test_callers_by_many_names_do_not_flood_the_trail(north: Hospital) -> None:
    with listener_process() as listener:
        for number in range(70):
            with wire.peer(listener.port) as caller:
                assert caller.ask(wire.associate_rq("NORTH", f"NAME{number}")) == UNIFORM
    lines = refusals(north)
    assert len(lines) <= 52
    assert sum(amount for _, amount in lines) == 70


def test_a_peer_that_is_taken_off_the_list_stores_nothing_more(
    listener: ListenerProcess, north: Hospital, film: Callable[..., Dataset]
) -> None:
    association = listener.associate("NORTH", film(1))
    assert association.send_c_store(film(1)).Status == 0x0000
    with tenant_tx(north.tenant.id):
        Peer.objects.all().delete()
    assert association.send_c_store(film(2)).Status == 0x0124
    association.release()
    assert listener.associate("NORTH").is_rejected


def test_a_peer_and_a_tenant_have_so_many_associations_at_once(north: Hospital, south: Hospital) -> None:
    with tenant_tx(north.tenant.id):
        for title in ("SECOND", "THIRD"):
            Peer(ae_title=title, network="127.0.0.1/32").save()
    limits = {"DIMSE_ASSOCIATIONS_PER_PEER": "2", "DIMSE_ASSOCIATIONS_PER_TENANT": "3"}
    with listener_process(**limits) as listener:
        opened = [listener.associate("NORTH") for _ in range(2)]
        with wire.peer(listener.port) as caller:
            assert caller.ask(wire.associate_rq()) == LOCAL_LIMIT
        opened.append(listener.associate("NORTH", calling="SECOND"))
        assert all(each.is_established for each in opened)
        with wire.peer(listener.port) as caller:
            assert caller.ask(wire.associate_rq(calling="THIRD")) == LOCAL_LIMIT
        assert listener.echo("SOUTH") == 0x0000
        opened.pop(0).release()
        assert eventually(lambda: listener.associate("NORTH").is_established)
        for each in opened:
            drop(each)
    assert {actor for actor, _ in refusals(north)} == {f"dimse:{PEER}", "dimse:THIRD"}


@pytest.mark.parametrize("padding", [b" ", b"\0"])
def test_titles_are_read_without_their_padding(listener: ListenerProcess, north: Hospital, padding: bytes) -> None:
    with wire.peer(listener.port) as caller:
        answer = caller.ask(wire.associate_rq(padding=padding))
        assert answer is not None
        assert answer[0] == wire.ASSOCIATE_AC
        echoed = caller.ask(wire.echo_rq())
        assert echoed is not None
        assert echoed[0] == wire.P_DATA
        assert caller.ask(wire.pdu(5)) == (wire.RELEASE_RP, bytes(4))

"""Attackers at the DIMSE port: a listed peer is served within two seconds, and refusals are audited."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import pytest
from django.db import connections
from psycopg2.extensions import ISOLATION_LEVEL_AUTOCOMMIT

from apps.audit.models import AuditEvent
from apps.tenants.scope import tenant_tx
from config.embedded.postgres import DATABASE, admin_dsn
from tests.conftest import Hospital
from tests.dimse import wire
from tests.dimse.conftest import film
from tests.dimse.listening import ListenerProcess, listener_process
from tests.dimse.test_listener import count, left_over

__all__ = ["film"]

ATTACKERS = 200
IN_TIME = 2.0
GROWTH = 32 * 2**20
CONGESTION = (wire.ASSOCIATE_RJ, bytes([0, 2, 3, 1]))


@pytest.fixture
def listener(north: Hospital) -> Iterator[ListenerProcess]:
    with listener_process() as listener:
        yield listener


@contextmanager
def attacked(port: int) -> Iterator[None]:
    """200 connections from 127.0.0.1 that never finish a request: silent, of one byte, dripping, of a huge length."""
    beginnings = (b"", b"\x01", wire.associate_rq()[:40], b"\x01\x00\x00\x00\xff\xff" + bytes(60000))
    ending = threading.Event()
    open_now: dict[int, socket.socket] = {}

    def attack() -> None:
        while not ending.wait(0.2):
            for number in range(ATTACKERS):
                if number not in open_now:
                    open_now[number] = socket.create_connection(("127.0.0.1", port), timeout=5)
                    open_now[number].sendall(beginnings[number % len(beginnings)])
                elif number % len(beginnings) in (2, 3):
                    with suppress(OSError):
                        open_now[number].setblocking(False)
                        open_now[number].send(b"\0")
                if is_closed(open_now[number]):
                    open_now.pop(number).close()

    thread = threading.Thread(target=attack)
    thread.start()
    time.sleep(1)
    try:
        assert len(open_now) == ATTACKERS
        yield
    finally:
        ending.set()
        thread.join()
        for each in open_now.values():
            each.close()


def is_closed(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def test_a_listed_peer_is_served_beside_200_that_never_finish(
    listener: ListenerProcess, north: Hospital, film: Callable[..., Any], settings: Any
) -> None:
    process = psutil.Process(listener.process.pid)
    assert listener.store("NORTH", film(1)) == [0x0000]
    resident, threads = process.memory_info().rss, process.num_threads()
    with attacked(listener.port):
        # For longer than a request may take, so that all of them are cut and come again.
        until = time.monotonic() + 7
        while time.monotonic() < until:
            started = time.monotonic()
            assert listener.echo("NORTH") == 0x0000
            assert time.monotonic() - started < IN_TIME
        assert process.num_threads() <= threads + 4
        assert process.memory_info().rss - resident < GROWTH
        assert listener.store("NORTH", film(2), film(3)) == [0x0000] * 2
        with wire.peer(listener.port) as stranger:
            assert stranger.ask(wire.associate_rq(calling="STRANGER")) == (wire.ASSOCIATE_RJ, bytes([0, 1, 1, 1]))
    assert count(north) == (3, 3)
    assert left_over(Path(settings.SPOOL_DIR)) == []
    listener.process.terminate()
    assert listener.process.wait(timeout=20) == 0
    with tenant_tx(north.tenant.id):
        (refused,) = AuditEvent.objects.filter(action=AuditEvent.Action.PEER_REFUSED)
        assert (refused.actor, refused.address) == ("dimse:STRANGER", "127.0.0.1")


def test_while_the_database_is_away_callers_are_told_to_come_again(listener: ListenerProcess, north: Hospital) -> None:
    assert listener.echo("NORTH") == 0x0000
    administrator = psycopg2.connect(**admin_dsn("postgres"))
    administrator.set_isolation_level(ISOLATION_LEVEL_AUTOCOMMIT)
    try:
        with administrator.cursor() as cursor:
            cursor.execute(f"alter database {DATABASE} with allow_connections false")
            cursor.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [DATABASE])
        for calling in ("MODALITY", "STRANGER"):
            with wire.peer(listener.port) as caller:
                assert caller.ask(wire.associate_rq(calling=calling)) == CONGESTION
    finally:
        with administrator.cursor() as cursor:
            cursor.execute(f"alter database {DATABASE} with allow_connections true")
        administrator.close()
        # This process's own were ended as well.
        connections.close_all()
    assert listener.echo("NORTH") == 0x0000


def test_messages_that_drip_are_ended(listener: ListenerProcess, north: Hospital) -> None:
    """An association is held by its pace as well: here a PDU of which a byte comes at a time."""
    with wire.peer(listener.port) as caller:
        caller.ask(wire.associate_rq())
        started = time.monotonic()
        caller.send(wire.p_data(bytes(20000), 0b00)[:6])
        caller.socket.settimeout(0.25)
        answer = b""
        while time.monotonic() - started < 20 and not answer:
            with suppress(TimeoutError):
                caller.send(b"\0")
                answer = caller.socket.recv(10)
        assert answer[:1] == bytes([wire.ABORT])
        assert 9 < time.monotonic() - started < 14

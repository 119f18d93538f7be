"""Client-side deadlines for PostgreSQL.

A server that hangs (a stopped process, a storage that blocks, a lost network) sends nothing, and its own
``statement_timeout`` does not fire; libpq would wait for ever. psycopg2 calls a wait callback whenever it waits for the
server, and this one gives up (psycopg2 documentation, "Support for coroutine libraries"). psycopg2 then closes the
connection.
"""

import select
import time
from collections.abc import Callable
from functools import partial

import psycopg2
from psycopg2 import extensions

CONNECT_SECONDS = 5.0


class _DeadlineConnection(extensions.connection):
    def __init__(self, dsn: str, *, answer_seconds: float | None) -> None:
        self.answer_seconds = answer_seconds
        super().__init__(dsn)


def connection_factory(answer_seconds: float | None) -> Callable[[str], extensions.connection]:
    """The ``connection_factory`` of psycopg2 for connections whose server must answer each statement in time.

    Args:
        answer_seconds: for a statement, from its start to its last row; None waits as long as it takes.
    """
    return partial(_DeadlineConnection, answer_seconds=answer_seconds)


def wait(connection: extensions.connection) -> None:
    """The wait callback.

    Raises:
        psycopg2.OperationalError: the server did not answer in time.
    """
    is_connecting = connection.status == extensions.STATUS_SETUP
    seconds = CONNECT_SECONDS if is_connecting else getattr(connection, "answer_seconds", None)
    deadline = None if seconds is None else time.monotonic() + seconds
    while (state := connection.poll()) != extensions.POLL_OK:
        poller = select.poll()
        poller.register(connection.fileno(), select.POLLOUT if state == extensions.POLL_WRITE else select.POLLIN)
        left = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
        if not poller.poll(left):
            raise psycopg2.OperationalError(f"The database did not answer within {seconds:g} s.")


extensions.set_wait_callback(wait)

"""Servers that hang, are killed, and start again."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil
from django.db import connections

from config.embedded import postgres


@contextmanager
def hanging(process: psutil.Process | None) -> Iterator[None]:
    """A server that takes connections and answers nothing."""
    assert process is not None
    process.suspend()
    stopped = [process, *process.children(recursive=True)]
    try:
        # A child may end meanwhile.
        for each in stopped[1:]:
            with suppress(psutil.NoSuchProcess):
                each.suspend()
        yield
    finally:
        for each in stopped:
            with suppress(psutil.NoSuchProcess):
                each.resume()


def kill(process: psutil.Process | None) -> None:
    """End a server and its children at once, as a power cut would."""
    assert process is not None
    killed = [process, *process.children(recursive=True)]
    for each in killed:
        # A child may have ended by itself when its parent did.
        with suppress(psutil.NoSuchProcess):
            each.kill()
    psutil.wait_procs(killed, timeout=10)


@contextmanager
def durable_postgres() -> Iterator[None]:
    """A server that keeps what it committed when it is killed, as in production; tests have a faster one."""
    try:
        _restart(durable=True)
        yield
    finally:
        _restart(durable=False)


def _restart(*, durable: bool) -> None:
    connections.close_all()
    postgres.stop()
    postgres.start(durable=durable)


def postgres_is_back(*, durable: bool = False) -> bool:
    """PostgreSQL's children outlive it by a moment, in which no other server may use its files."""
    try:
        postgres.start(durable=durable)
    except postgres.EmbeddedServiceError:
        return False
    return True

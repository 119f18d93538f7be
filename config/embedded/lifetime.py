"""Who keeps the embedded servers up: every process that uses them holds a shared lock; the last one out stops them."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO

from config.embedded import places, postgres, valkey
from config.env import env_bool, env_str

_PATIENCE_SECONDS = 30


def _take(lock: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def running_services() -> Iterator[None]:
    """The embedded servers that the environment does not replace, up for as long as the block runs.

    Attaches to the ones that run already. On leaving, the last user of this home stops them.
    """
    wants_postgres = not env_str("DATABASE_URL")
    wants_valkey = not env_str("REDIS_URL")
    if not (wants_postgres or wants_valkey):
        yield
        return
    folder = places.socket_folder()
    with (folder / "users.lock").open("w") as users:
        with (folder / "start.lock").open("w") as starting:
            fcntl.flock(starting, fcntl.LOCK_EX)
            fcntl.flock(users, fcntl.LOCK_SH)
            if wants_postgres:
                _start_postgres()
            if wants_valkey:
                valkey.start()
        owner = os.getpid()
        try:
            yield
        finally:
            # A forked child leaves through here too; only the process that took the lock may decide.
            if os.getpid() == owner:
                _stop_if_last(users)


def keep_running() -> None:
    """Start again what died of the embedded servers.

    Raises:
        EmbeddedServiceError: it does not start.
    """
    missing = []
    if not env_str("DATABASE_URL") and postgres.postmaster() is None:
        missing.append(("PostgreSQL", _start_postgres))
    if not env_str("REDIS_URL") and valkey.process() is None:
        missing.append(("Valkey", valkey.start))
    if not missing:
        return
    with (places.socket_folder() / "start.lock").open("w") as starting:
        fcntl.flock(starting, fcntl.LOCK_EX)
        for name, start in missing:
            print(f"  {name} stopped; starting it again", flush=True)
            _patiently(start)


def _patiently(start: Callable[[], None]) -> None:
    """PostgreSQL's children outlive it by a moment, in which no other server may use its files."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return start()
        except postgres.EmbeddedServiceError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def _start_postgres() -> None:
    postgres.start(durable=not env_bool("CHECXRAY_UNSAFE_FAST_DATABASE"))


def _stop_if_last(users: IO[str]) -> None:
    with (places.socket_folder() / "start.lock").open("w") as starting:
        fcntl.flock(starting, fcntl.LOCK_EX)
        if _take(users, fcntl.LOCK_EX):
            valkey.stop()
            postgres.stop()

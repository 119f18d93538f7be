"""Starts and stops the embedded servers. Every process that uses them holds a shared lock; the last one stops them."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO

from config.embedded import paths, postgres, valkey
from config.env import env_bool, env_str

_RETRY_SECONDS = 30


def _try_lock(lock: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def running_services() -> Iterator[None]:
    """Run the embedded servers that the environment does not replace, for as long as the block runs.

    Servers that run already are used. At the end, the last process that uses this home stops them.
    """
    wants_postgres = not env_str("DATABASE_URL")
    wants_valkey = not env_str("REDIS_URL")
    if not (wants_postgres or wants_valkey):
        yield
        return
    folder = paths.socket_folder()
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
            # A forked child comes here too; only the process that took the lock may stop the servers.
            if os.getpid() == owner:
                _stop_if_last(users)


def keep_running() -> None:
    """Restart embedded servers that have died.

    Raises:
        EmbeddedServiceError: a server does not start.
    """
    missing = []
    if not env_str("DATABASE_URL") and postgres.postmaster() is None:
        missing.append(("PostgreSQL", _start_postgres))
    if not env_str("REDIS_URL") and valkey.process() is None:
        missing.append(("Valkey", valkey.start))
    if not missing:
        return
    with (paths.socket_folder() / "start.lock").open("w") as starting:
        fcntl.flock(starting, fcntl.LOCK_EX)
        for name, start in missing:
            print(f"  {name} stopped; starting it again", flush=True)
            _start_with_retries(start)


def _start_with_retries(start: Callable[[], None]) -> None:
    """Start a server. PostgreSQL's child processes live a moment longer, and no new server can use its files then."""
    deadline = time.monotonic() + _RETRY_SECONDS
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
    with (paths.socket_folder() / "start.lock").open("w") as starting:
        fcntl.flock(starting, fcntl.LOCK_EX)
        if _try_lock(users, fcntl.LOCK_EX):
            valkey.stop()
            postgres.stop()

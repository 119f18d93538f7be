"""Argon2, a few at a time: each hash takes a core and 100 MB, and anybody may ask for one by signing in."""

import contextlib
import functools
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from django.conf import settings
from django.contrib.auth.hashers import Argon2PasswordHasher

from apps.core.errors import UnavailableError

_WAIT_SECONDS = 3.0
_NICENESS = 10
_T = TypeVar("_T")


class Lane:
    """At most ``at_once`` threads inside and as many again waiting, not for long; others are refused at once."""

    def __init__(self, at_once: int) -> None:
        self._inside = threading.BoundedSemaphore(at_once)
        self._room = threading.BoundedSemaphore(2 * at_once)

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Raises UnavailableError where there is no place."""
        if not self._room.acquire(blocking=False):
            raise _busy()
        try:
            if not self._inside.acquire(timeout=_WAIT_SECONDS):
                raise _busy()
            try:
                yield
            finally:
                self._inside.release()
        finally:
            self._room.release()


def _busy() -> UnavailableError:
    return UnavailableError("Too many people are signing in at this moment. Try again in a few seconds.", "busy")


def _step_back() -> None:
    with contextlib.suppress(OSError):
        os.nice(_NICENESS)  # Linux: this thread, and those that Argon2 starts from it


lane = Lane(settings.HASHES_AT_ONCE)
# One hash is eight threads that compute; images and pages go before them.
_threads = ThreadPoolExecutor(settings.HASHES_AT_ONCE, thread_name_prefix="hashing", initializer=_step_back)


def _hash(call: Callable[[], _T]) -> _T:
    with lane.enter():
        return _threads.submit(call).result()


class LimitedArgon2PasswordHasher(Argon2PasswordHasher):
    """Django's own, in the lane of this process."""

    def encode(self, password: str, salt: str) -> str:
        return _hash(functools.partial(super().encode, password, salt))

    def verify(self, password: str, encoded: str) -> bool:
        return _hash(functools.partial(super().verify, password, encoded))

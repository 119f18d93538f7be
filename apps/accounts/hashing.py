"""Argon2, a few at a time: each hash takes a core and 100 MB, and anybody may ask for one by signing in."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.contrib.auth.hashers import Argon2PasswordHasher

from apps.core.errors import UnavailableError

_WAIT_SECONDS = 3.0


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


lane = Lane(settings.HASHES_AT_ONCE)


class LimitedArgon2PasswordHasher(Argon2PasswordHasher):
    """Django's own, in the lane of this process."""

    def encode(self, password: str, salt: str) -> str:
        with lane.enter():
            return super().encode(password, salt)

    def verify(self, password: str, encoded: str) -> bool:
        with lane.enter():
            verified: Any = super().verify(password, encoded)
            return bool(verified)

"""A limit on simultaneous Argon2 hashes: each takes a core and 100 MB, and any client can cause one by signing in."""

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
from django.utils.translation import gettext as _

from apps.core.errors import UnavailableError

_WAIT_SECONDS = 3.0
_NICENESS = 10
_T = TypeVar("_T")


class HashingLimit:
    """At most ``at_once`` threads hash, and as many again wait for a short time; others are refused at once."""

    def __init__(self, at_once: int) -> None:
        self._hashing = threading.BoundedSemaphore(at_once)
        self._hashing_or_waiting = threading.BoundedSemaphore(2 * at_once)

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Wait for a place; raises UnavailableError where there is none."""
        if not self._hashing_or_waiting.acquire(blocking=False):
            raise _busy()
        try:
            if not self._hashing.acquire(timeout=_WAIT_SECONDS):
                raise _busy()
            try:
                yield
            finally:
                self._hashing.release()
        finally:
            self._hashing_or_waiting.release()


def _busy() -> UnavailableError:
    return UnavailableError(_("Too many people are signing in at this moment. Try again in a few seconds."), "busy")


def _lower_priority() -> None:
    with contextlib.suppress(OSError):
        os.nice(_NICENESS)  # Linux: this thread, and those that Argon2 starts from it


hashing_limit = HashingLimit(settings.HASHES_AT_ONCE)
# One hash computes on eight threads; images and pages have priority over them.
_threads = ThreadPoolExecutor(settings.HASHES_AT_ONCE, thread_name_prefix="hashing", initializer=_lower_priority)


def _hash(call: Callable[[], _T]) -> _T:
    with hashing_limit.enter():
        return _threads.submit(call).result()


class LimitedArgon2PasswordHasher(Argon2PasswordHasher):
    """Django's hasher, within the limit of this process."""

    def encode(self, password: str, salt: str) -> str:
        return _hash(functools.partial(super().encode, password, salt))

    def verify(self, password: str, encoded: str) -> bool:
        return _hash(functools.partial(super().verify, password, encoded))

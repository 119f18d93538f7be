"""Lanes: separate thread pools that run Django, so that one kind of request cannot take the threads of another."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from apps.core.errors import UnavailableError

WAITING_SECONDS = 30.0
_T = TypeVar("_T")


class Lane:
    """A thread pool with a bounded queue. Only the event loop may use it.

    Args:
        waiting: the most requests that may wait for a thread.
    """

    def __init__(self, name: str, threads: int, *, waiting: int) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._limit = threads + waiting
        self._under_way = 0

    def submit(self, job: Callable[[], _T]) -> "Future[_T]":
        """Run a job on a thread.

        Raises:
            UnavailableError: too many requests wait. The future raises it where the job has waited too long.
        """
        if self._under_way >= self._limit:
            raise _busy()
        self._under_way += 1
        started = time.monotonic()

        def run() -> _T:
            if time.monotonic() - started > WAITING_SECONDS:
                raise _busy()
            return job()

        return self._threads.submit(run)

    def leave(self) -> None:
        """Count a submitted job as ended, or its client as gone."""
        self._under_way -= 1


def _busy() -> UnavailableError:
    return UnavailableError("The service is busy with other requests; try again.", "busy")

"""Stops a worker from claiming jobs while an outage lasts: the jobs would only return to the queue."""

import logging
import threading
import time
from collections.abc import Callable

from django.db import DatabaseError, InterfaceError

from apps.core.retry import failure_of
from apps.inference.retries import end_outage, note_outage

logger = logging.getLogger(__name__)
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 10.0


class Outage:
    """An outage begins with a failure of the infrastructure and ends when its probe succeeds. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._code: str | None = None
        self._probe: Callable[[], None] = lambda: None
        self._pause = self._next_probe = 0.0

    @property
    def code(self) -> str | None:
        """The code of the current outage, or None."""
        return self._code

    def begin(self, code: str, probe: Callable[[], None]) -> None:
        """Begin an outage.

        Args:
            code: one of `apps.core.retry.FAILURES`.
            probe: raises an exception as long as the outage lasts.
        """
        with self._lock:
            if self._code is not None:
                return
            self._code, self._probe, self._pause = code, probe, _FIRST_PAUSE
            self._next_probe = time.monotonic() + self._pause
        logger.warning("This worker claims no jobs: %s.", failure_of(code).cause)
        self._note(code)

    def lasts(self) -> bool:
        """Whether the worker must not claim jobs. It probes at intervals that grow from 1 to 10 seconds."""
        with self._lock:
            code = self._code
            if code is None:
                return False
            if time.monotonic() < self._next_probe:
                return True
            try:
                self._probe()
            except (DatabaseError, InterfaceError):
                raise
            # Any exception of a storage client means that the outage lasts.
            except Exception:
                self._pause = min(2 * self._pause, _LONGEST_PAUSE)
                self._next_probe = time.monotonic() + self._pause
            else:
                self._code = None
        if self._code is not None:
            self._note(code)
            return True
        logger.warning("This worker claims jobs again.")
        end_outage(code)
        return False

    @staticmethod
    def _note(code: str) -> None:
        try:
            note_outage(code)
        except (DatabaseError, InterfaceError) as error:
            logger.warning("The reason could not be stored in the waiting jobs (%s).", type(error).__name__)

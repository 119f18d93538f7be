"""Looks for work without a wake-up message: while the broker is away, images are read a little later."""

import logging
import threading
import time

from workers.drain import Drain

logger = logging.getLogger(__name__)
# As long as a worker waits, in seconds, before it looks for itself.
QUIET_SECONDS = 5.0


class Watch:
    def __init__(self, drain: Drain, quiet: float = QUIET_SECONDS) -> None:
        self._drain = drain
        self._quiet = quiet
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._closed = True
        self._drain.changed.set()
        if self._thread.is_alive():
            self._thread.join(5)

    def _run(self) -> None:
        while not self._closed:
            changed = self._drain.changed.wait(self._quiet)
            self._drain.changed.clear()
            if not self._closed and (changed or time.monotonic() - self._drain.last_run >= self._quiet):
                self._look()

    def _look(self) -> None:
        try:
            self._drain.run()
        # Nothing may end this thread: without it a dead broker stops diagnosis.
        except Exception as error:
            logger.warning("A look for work failed (%s); the next one tries again.", type(error).__name__)

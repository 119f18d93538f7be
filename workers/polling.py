"""Polls for jobs without a wake-up message, so that jobs are read also while the broker does not answer."""

import logging
import threading
import time

from workers.inference_worker import InferenceWorker

logger = logging.getLogger(__name__)
# How long a worker waits without a wake-up message before it looks for jobs itself, in seconds.
QUIET_SECONDS = 5.0


class QueuePoller:
    def __init__(self, worker: InferenceWorker, quiet: float = QUIET_SECONDS) -> None:
        self._worker = worker
        self._quiet = quiet
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._closed = True
        self._worker.changed.set()
        if self._thread.is_alive():
            self._thread.join(5)

    def _run(self) -> None:
        while not self._closed:
            changed = self._worker.changed.wait(self._quiet)
            self._worker.changed.clear()
            if not self._closed and (changed or time.monotonic() - self._worker.last_run >= self._quiet):
                self._poll()

    def _poll(self) -> None:
        try:
            self._worker.run()
        # No error may end this thread: without it no job is read while the broker is down.
        except Exception as error:
            logger.warning("Polling for jobs failed (%s); the next poll tries again.", type(error).__name__)

"""A thread that reports that this worker is alive, and extends the leases of its claims."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, InterfaceError, close_old_connections, connections
from django.db.models.functions import Now

from apps.inference.leases import Claim, extend_leases
from apps.inference.models import Worker
from apps.inference.retries import return_after_failure

logger = logging.getLogger(__name__)
BEAT_SECONDS = min(10.0, settings.INFERENCE_LEASE_SECONDS / 4)


class Heartbeat:
    """Extends leases, each for at most ``INFERENCE_STUCK_SECONDS``: a hanging forward pass must not keep its jobs."""

    def __init__(
        self, worker: str, state: Callable[[], Mapping[str, Any]], give_up: Callable[[str], None] = lambda _: None
    ) -> None:
        self._worker = worker
        self._state = state
        self._give_up = give_up
        self._held: dict[UUID, Claim] = {}
        self._since: dict[UUID, float] = {}
        self._failed: dict[UUID, tuple[Claim, str]] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._closed = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(5)

    def hold(self, claims: Iterable[Claim]) -> None:
        now = time.monotonic()
        with self._lock:
            for claim in claims:
                self._held[claim.id], self._since[claim.id] = claim, now

    def release(self, claims: Iterable[Claim]) -> None:
        with self._lock:
            for claim in claims:
                self._held.pop(claim.id, None)
                self._since.pop(claim.id, None)

    def fail(self, claims: Iterable[Claim], code: str) -> None:
        """Return claims to the queue with a code of `apps.core.retry`, now or when the database answers again."""
        with self._lock:
            for claim in claims:
                self._failed[claim.id] = (claim, code)
        self._wake.set()

    def report_now(self) -> None:
        """Report a changed state at once."""
        self._wake.set()

    def _run(self) -> None:
        while not self._closed:
            try:
                close_old_connections()
                self._beat()
            # Without this thread the worker would lose its leases, so no error may end it.
            except Exception as error:
                logger.warning("A heartbeat failed (%s).", type(error).__name__)
            self._wake.wait(BEAT_SECONDS)
            self._wake.clear()
        try:
            self._return_failed()
            Worker.objects.filter(name=self._worker).delete()
        except (DatabaseError, InterfaceError):
            logger.warning("The worker could not delete its row; the dispatcher deletes it later.")
        connections.close_all()

    def _beat(self) -> None:
        with self._lock:
            held, oldest = list(self._held.values()), min(self._since.values(), default=None)
        if oldest is not None and time.monotonic() - oldest > settings.INFERENCE_STUCK_SECONDS:
            self._give_up(f"An image was not read within {settings.INFERENCE_STUCK_SECONDS} seconds.")
            return
        self._return_failed()
        if held:
            extend_leases(claims=held)
        Worker.objects.update_or_create(name=self._worker, defaults={**self._state(), "last_seen": Now()})

    def _return_failed(self) -> None:
        with self._lock:
            failed = list(self._failed.values())
        for claim, code in failed:
            return_after_failure(job=claim, code=code)
            with self._lock:
                if self._failed.get(claim.id) == (claim, code):
                    del self._failed[claim.id]

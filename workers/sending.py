"""Sends to tenants' destinations in threads of their own, so that a receiver that hangs delays no other work."""

import logging
import threading
from functools import partial

from django.db import DatabaseError, InterfaceError, close_old_connections, connections

from apps.core.retry import outage_of
from apps.events.deliveries import SENDING, SendOutcome, finish_delivery
from apps.events.models import Delivery
from apps.results.sending import send
from workers.children import repeat_until_stored

logger = logging.getLogger(__name__)
_MOST_THREADS = 8


class Senders:
    """Threads that send until nothing is due. As each destination gets one delivery at a time, none occupies two."""

    def __init__(self, *, worker: str, stopping: threading.Event) -> None:
        self._worker = worker
        self._stopping = stopping
        self._free = threading.BoundedSemaphore(_MOST_THREADS)

    def start_one(self) -> None:
        """Start a thread, unless all are busy; those look for more when they have finished."""
        if not self._stopping.is_set() and self._free.acquire(blocking=False):
            # A daemon thread: what it has not finished when the process ends is queued again by its lease.
            threading.Thread(target=self._run, name="sending", daemon=True).start()

    def _run(self) -> None:
        try:
            send_waiting(worker=self._worker, stopping=self._stopping)
        except (DatabaseError, InterfaceError) as error:
            logger.warning("The database did not answer (%s); the dispatcher sends it again.", type(error).__name__)
        finally:
            connections.close_all()
            self._free.release()


def send_waiting(*, worker: str, stopping: threading.Event) -> None:
    """Send what is due, until nothing is."""
    while not stopping.is_set():
        close_old_connections()
        claimed = SENDING.claim(worker=worker)
        if not claimed:
            return
        for delivery in claimed:
            outcome = _attempt(delivery)
            if outcome.failure:
                logger.warning("Delivery %s was not made.", delivery.pk)
            repeat_until_stored(partial(finish_delivery, delivery=delivery, outcome=outcome), stopping)


def _attempt(delivery: Delivery) -> SendOutcome:
    try:
        return send(delivery)
    # Its text may contain a value of the patient, and reasons are shown.
    except Exception as error:
        if code := outage_of(error):
            return SendOutcome(failure="Waiting for the end of an outage.", outage=code)
        logger.warning("Delivery %s failed (%s).", delivery.pk, type(error).__name__)
        return SendOutcome(failure=f"It could not be sent ({type(error).__name__}).")

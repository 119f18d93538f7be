"""The dispatcher: sends lost wake-up messages again and expires leases. Two may run at once; steps are repeatable."""

import datetime
import logging
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import close_old_connections

from apps.core.wake_up import WakeUp, wake_now
from apps.core.watched_queues import watched_queues
from apps.core.work_queue import Queue
from apps.deployment.services import PREVIEWS
from apps.evaluation.services import EVALUATIONS
from apps.events.services import DELIVERIES
from apps.inference.drift import count_ended_weeks
from apps.inference.events import publish_missed_failures
from apps.inference.leases import LEASE
from apps.inference.retries import end_outage, expire_leases, free_ended_workers, note_outage
from apps.inference.selectors import serving_workers, waiting_jobs
from apps.inference.services import delete_silent_workers
from apps.inference.shadows import drop_ended_shadows
from apps.inference.signals import swept
from apps.studies.resumable import remove_expired_uploads
from apps.studies.spool import remove_abandoned
from apps.tenants.checks import require_safe_start

logger = logging.getLogger(__name__)
FORGOTTEN_AFTER = datetime.timedelta(seconds=10)
HOUSEKEEPING_EVERY = 720
# The longest time between two sweeps, however short the leases are.
_LONGEST_GAP_SECONDS = 10.0
_OF_JOBS_WORKER: tuple[Queue[Any], ...] = (EVALUATIONS, PREVIEWS, DELIVERIES)


class Command(BaseCommand):
    help = (
        "Send lost wake-up messages again, queue the jobs of dead workers again, and tidy up; runs until it is stopped."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--interval", type=float, default=5.0, help="seconds between two sweeps")
        parser.add_argument("--once", action="store_true", help="sweep once and exit")

    def handle(self, *args: Any, **options: Any) -> None:
        require_safe_start()
        stop = threading.Event()
        if not options["once"]:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: stop.set())
        sweeps = 0
        leases = LeaseExpiry()
        while not stop.is_set():
            sweep(leases, tidy=sweeps % HOUSEKEEPING_EVERY == 0)
            sweeps += 1
            if options["once"]:
                return
            stop.wait(options["interval"])


def queues_of_jobs_worker() -> tuple[Queue[Any], ...]:
    return (*_OF_JOBS_WORKER, *watched_queues())


class LeaseExpiry:
    """Queues the jobs of dead workers again.

    While the database does not answer, no worker can extend its leases. So after an outage, and after every longer
    time in which this process did not run, each worker has the time of one lease to extend its leases.
    """

    def __init__(self) -> None:
        self._last_run: float | None = None
        self._wait_until = 0.0

    def expire(self) -> int:
        """Queue the jobs of dead workers again; return how many there were."""
        now = time.monotonic()
        if self._last_run is not None and now - self._last_run > max(LEASE.total_seconds() / 2, _LONGEST_GAP_SECONDS):
            self._wait_until = now + LEASE.total_seconds()
        self._last_run = now
        may_expire = now >= self._wait_until
        lost = free_ended_workers() + (expire_leases() if may_expire else 0)
        for queue in queues_of_jobs_worker():
            # What follows from the end of a job may fail each time; the other queues must not wait for it.
            try:
                lost += queue.free_ended_workers() + (queue.expire_leases() if may_expire else 0)
            except Exception as error:
                name = queue.kind.__name__
                logger.warning("Leases of %s failed (%s); the next sweep tries again.", name, type(error).__name__)
        if lost:
            logger.warning("%d jobs were queued again: their workers ended, or did not extend their leases.", lost)
        return lost


def sweep(leases: LeaseExpiry, *, tidy: bool = False) -> None:
    """Run each step, also where an earlier one failed."""
    steps: list[Callable[[], object]] = [
        leases.expire, _note_missing_worker, _wake_workers, drop_ended_shadows, _wake_jobs_worker,
        _sweep_higher_packages,
    ]  # fmt: skip
    if tidy:
        steps += [
            delete_silent_workers,
            remove_abandoned,
            remove_expired_uploads,
            count_ended_weeks,
            publish_missed_failures,
        ]
    for step in steps:
        try:
            close_old_connections()
            step()
        # No error may end the dispatcher: without it, lost wake-up messages and dead workers are not noticed.
        except Exception as error:
            name = step.__name__.strip("_")
            logger.warning("%s failed (%s); the next sweep tries again.", name, type(error).__name__)


def _sweep_higher_packages() -> None:
    swept.send(Command)


def _note_missing_worker() -> None:
    """Set the reason of jobs that no worker can read: none runs, its device failed, or it cannot load the version."""
    if serving_workers().exists():
        end_outage("no-worker")
    elif waiting_jobs(older_than=FORGOTTEN_AFTER):
        note_outage("no-worker")


def _wake_workers() -> None:
    if waiting_jobs(older_than=FORGOTTEN_AFTER):
        wake_now(WakeUp.INFER)


def _wake_jobs_worker() -> None:
    for queue in queues_of_jobs_worker():
        if queue.due().exists():
            wake_now(queue.wake_up)

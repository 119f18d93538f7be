"""The dispatcher: sees to it that no job is forgotten. Two may run at once; every step is safe to repeat."""

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
from apps.deployment.services import PREVIEWS
from apps.evaluation.services import EVALUATIONS
from apps.events.services import due_deliveries
from apps.inference.leases import LEASE
from apps.inference.retries import end_outage, expire_leases, free_ended_workers, note_outage
from apps.inference.selectors import serving_workers, waiting_jobs
from apps.inference.services import forget_silent_workers
from apps.inference.shadows import drop_ended_shadows
from apps.studies.spool import remove_abandoned
from apps.tenants.checks import require_safe_start

logger = logging.getLogger(__name__)
FORGOTTEN = datetime.timedelta(seconds=10)
HOUSEKEEPING_EVERY = 720
# Between two looks, however short the leases are.
_LONGEST_GAP_SECONDS = 10.0


class Command(BaseCommand):
    help = (
        "Send lost wake-up messages again, take back the jobs of dead workers, and tidy up; runs until it is stopped."
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
        leases = LeaseWatch()
        while not stop.is_set():
            sweep(leases, tidy=sweeps % HOUSEKEEPING_EVERY == 0)
            sweeps += 1
            if options["once"]:
                return
            stop.wait(options["interval"])


class LeaseWatch:
    """Takes jobs back from workers that fell silent.

    While the database is away no worker can extend its leases. So after an outage, and after any gap in which this
    process did not look, each worker has the time of one lease to be heard of again.
    """

    def __init__(self) -> None:
        self._looked: float | None = None
        self._wait_until = 0.0

    def look(self) -> int:
        """How many jobs were taken back."""
        lost = free_ended_workers()
        now = time.monotonic()
        if self._looked is not None and now - self._looked > max(LEASE.total_seconds() / 2, _LONGEST_GAP_SECONDS):
            self._wait_until = now + LEASE.total_seconds()
        self._looked = now
        if now >= self._wait_until:
            lost += expire_leases()
        if lost:
            logger.warning("%d jobs were taken back from workers that ended or fell silent.", lost)
        return lost


def sweep(leases: LeaseWatch, *, tidy: bool = False) -> None:
    """Each step, whatever became of the ones before it."""
    steps: list[Callable[[], object]] = [
        leases.look, _note_missing_worker, _wake_workers, drop_ended_shadows, _wake_jobs_worker, _wake_for_deliveries,
    ]  # fmt: skip
    for step in [*steps, forget_silent_workers, remove_abandoned] if tidy else steps:
        try:
            close_old_connections()
            step()
        # Nothing may end the dispatcher: without it lost wake-up messages and dead workers go unnoticed.
        except Exception as error:
            name = step.__name__.strip("_")
            logger.warning("%s failed (%s); the next sweep tries again.", name, type(error).__name__)


def _note_missing_worker() -> None:
    """Jobs that no worker can read say so: no worker runs, its device is away, or it cannot load the version."""
    if serving_workers().exists():
        end_outage("no-worker")
    elif waiting_jobs(older_than=FORGOTTEN):
        note_outage("no-worker")


def _wake_workers() -> None:
    if waiting_jobs(older_than=FORGOTTEN):
        wake_now(WakeUp.INFER)


def _wake_jobs_worker() -> None:
    for queue in (EVALUATIONS, PREVIEWS):
        if queue.waits():
            wake_now(queue.wake_up)


def _wake_for_deliveries() -> None:
    if due_deliveries():
        wake_now(WakeUp.DELIVER)

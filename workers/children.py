"""Runs jobs in child processes: claims a row and extends its lease while the child runs, until no row waits."""

import contextlib
import itertools
import logging
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from typing import TypeVar

import psutil
from django.conf import settings
from django.db import DatabaseError, InterfaceError, close_old_connections

from apps.core.retry import outage_of
from apps.core.work_queue import Queue, Work

logger = logging.getLogger(__name__)
_POLL_SECONDS = 0.5
_DATABASE_PAUSE_SECONDS = 5
# Readings for patients have priority on a machine that runs both.
_NICE = 10
W = TypeVar("W", bound=Work)
Child = subprocess.Popen[bytes]
WaitForChild = Callable[[Child], int]
"""Waits for a child process and returns its exit status."""


class _Stopped(Exception):
    """The worker stops, or another worker has the job by now."""


def process_jobs(
    queue: Queue[W], attempt: Callable[[W, WaitForChild], None], *, worker: str, stopping: threading.Event
) -> None:
    """Process all waiting jobs: ``attempt`` starts a child for a job, and ends the job by its result."""
    while not stopping.is_set():
        close_old_connections()
        claimed = queue.claim(worker=worker)
        if not claimed:
            return
        for job in claimed:
            logger.info("%s %s, attempt %d.", queue.kind.__name__, job.pk, job.attempts)
            _try(queue, job, attempt, stopping)


def _try(queue: Queue[W], job: W, attempt: Callable[[W, WaitForChild], None], stopping: threading.Event) -> None:
    try:
        attempt(job, lambda child: _wait_for_child(queue, job, child, stopping))
    except _Stopped:
        queue.release(job=job)
    # Any error fails this attempt; the reason is stored and shown.
    except Exception as error:
        logger.exception("%s %s failed.", queue.kind.__name__, job.pk)
        if code := outage_of(error):
            # An attempt whose lease expires would count.
            repeat_until_stored(lambda: queue.fail(job=job, code=code), stopping)
        else:
            queue.fail(job=job, reason=f"{type(error).__name__}: {error}")


def repeat_until_stored(store: Callable[[], None], stopping: threading.Event) -> None:
    """Store an outcome as soon as the database answers, or leave it to the lease when the worker stops."""
    while True:
        try:
            close_old_connections()
            return store()
        except (DatabaseError, InterfaceError) as error:
            logger.warning("The database did not answer (%s).", type(error).__name__)
            if stopping.wait(_DATABASE_PAUSE_SECONDS):
                return None


def _wait_for_child(queue: Queue[W], job: W, child: Child, stopping: threading.Event) -> int:
    try:
        with contextlib.suppress(psutil.Error):
            psutil.Process(child.pid).nice(_NICE)
        _wait(queue, job, child, stopping)
    finally:
        _end(child)
    return child.returncode


def _wait(queue: Queue[W], job: W, child: Child, stopping: threading.Event) -> None:
    polls = max(1, round(settings.JOB_LEASE_SECONDS / 4 / _POLL_SECONDS))
    for poll in itertools.count(1):
        try:
            child.wait(_POLL_SECONDS)
            return
        except subprocess.TimeoutExpired:
            if stopping.is_set() or (poll % polls == 0 and not _extend_lease(queue, job)):
                raise _Stopped from None


def _extend_lease(queue: Queue[W], job: W) -> bool:
    try:
        close_old_connections()
        return bool(queue.renew([job]))
    except (DatabaseError, InterfaceError) as error:
        # The child may still succeed once the database answers; if the lease is lost then, its result is not stored.
        logger.warning("The lease of %s was not extended (%s).", job.pk, type(error).__name__)
        return True


def _end(child: Child) -> None:
    """End the child and all processes that it started."""
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    if child.stdin:
        child.stdin.close()

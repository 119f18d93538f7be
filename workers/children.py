"""Work that takes a process of its own: claim a row, keep its lease while the child runs; until none waits."""

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

from apps.core.retry import failure_of, outage_of
from apps.core.work_queue import Queue, Work

logger = logging.getLogger(__name__)
_LOOK_SECONDS = 0.5
_DATABASE_PAUSE_SECONDS = 5
# Films of patients come first on a machine that reads both.
_NICE = 10
W = TypeVar("W", bound=Work)
Child = subprocess.Popen[bytes]
Attend = Callable[[Child], int]
"""Stays with a child until it ends; its exit status."""


class _Stopped(Exception):
    """The worker stops, or the job is another worker's by now."""


def work_off(queue: Queue[W], attempt: Callable[[W, Attend], None], *, worker: str, stopping: threading.Event) -> None:
    """Let ``attempt`` start a child for each job and end the job by what came of it."""
    while not stopping.is_set():
        close_old_connections()
        job = queue.claim(worker=worker)
        if job is None:
            return
        logger.info("%s %s, attempt %d.", queue.kind.__name__, job.pk, job.attempts)
        _try(queue, job, attempt, stopping)


def _try(queue: Queue[W], job: W, attempt: Callable[[W, Attend], None], stopping: threading.Event) -> None:
    try:
        attempt(job, lambda child: _attend(queue, job, child, stopping))
    except _Stopped:
        queue.release(job=job)
    # Another attempt follows, and the reason is shown.
    except Exception as error:
        logger.exception("%s %s failed.", queue.kind.__name__, job.pk)
        if code := outage_of(error):
            _postpone(queue, job, f"Waits: {failure_of(code).what}.", stopping)
        else:
            queue.fail(job=job, reason=f"{type(error).__name__}: {error}")


def _postpone(queue: Queue[W], job: W, reason: str, stopping: threading.Event) -> None:
    """As soon as the database answers: an attempt that ends with its lease would count."""
    while True:
        try:
            close_old_connections()
            return queue.postpone(job=job, reason=reason)
        except (DatabaseError, InterfaceError) as error:
            logger.warning("The database did not answer (%s).", type(error).__name__)
            if stopping.wait(_DATABASE_PAUSE_SECONDS):
                return None


def _attend(queue: Queue[W], job: W, child: Child, stopping: threading.Event) -> int:
    try:
        with contextlib.suppress(psutil.Error):
            psutil.Process(child.pid).nice(_NICE)
        _wait(queue, job, child, stopping)
    finally:
        _end(child)
    return child.returncode


def _wait(queue: Queue[W], job: W, child: Child, stopping: threading.Event) -> None:
    looks = max(1, round(settings.JOB_LEASE_SECONDS / 4 / _LOOK_SECONDS))
    for look in itertools.count(1):
        try:
            child.wait(_LOOK_SECONDS)
            return
        except subprocess.TimeoutExpired:
            if stopping.is_set() or (look % looks == 0 and not _keeps(queue, job)):
                raise _Stopped from None


def _keeps(queue: Queue[W], job: W) -> bool:
    try:
        close_old_connections()
        return queue.extend(job=job)
    except (DatabaseError, InterfaceError) as error:
        # The child may still find the database back; if the lease is lost by then, its result is not written.
        logger.warning("The lease of %s was not extended (%s).", job.pk, type(error).__name__)
        return True


def _end(child: Child) -> None:
    """Whatever the child started goes with it."""
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    if child.stdin:
        child.stdin.close()

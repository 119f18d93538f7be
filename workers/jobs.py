"""The Celery application of what must not wait behind films; its command line names the queues (`config.processes`).

It loads no model. Evaluations and previews run in child processes, one of each at a time; webhooks in as many threads
as it has.
"""

import logging
import os
import socket
import threading
from collections.abc import Callable
from typing import Any

import django
from celery.signals import worker_shutting_down

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.embedded")
django.setup()

from django.db import DatabaseError, InterfaceError  # noqa: E402

from apps.core.wake_up import WakeUp  # noqa: E402
from apps.core.wake_up import broker as app  # noqa: E402
from apps.tenants.checks import require_safe_start  # noqa: E402
from workers.delivering import deliver_due  # noqa: E402
from workers.measuring import measure_waiting  # noqa: E402
from workers.previewing import preview_waiting  # noqa: E402

# Here and not in a Celery signal: an exception there would be logged, and the worker would go on.
require_safe_start()

logger = logging.getLogger(__name__)
NAME = f"{socket.gethostname()}:{os.getpid()}"
_stopping = threading.Event()
_measuring = threading.Lock()
_previewing = threading.Lock()


@worker_shutting_down.connect
def _stop(**_: Any) -> None:
    _stopping.set()


@app.task(name=WakeUp.EVALUATE.value)
def evaluate() -> None:
    _alone(_measuring, measure_waiting)


@app.task(name=WakeUp.PREVIEW.value)
def preview() -> None:
    _alone(_previewing, preview_waiting)


def _alone(busy: threading.Lock, work: Callable[..., None]) -> None:
    """Whoever is at it already looks for more when it is done."""
    if not busy.acquire(blocking=False):
        return
    try:
        work(worker=NAME, stopping=_stopping)
    except (DatabaseError, InterfaceError) as error:
        _say_later(error)
    finally:
        busy.release()


@app.task(name=WakeUp.DELIVER.value)
def deliver() -> None:
    try:
        deliver_due(stopping=_stopping)
    except (DatabaseError, InterfaceError) as error:
        _say_later(error)


def _say_later(error: Exception) -> None:
    """The work is safe in its rows."""
    logger.warning("The database did not answer (%s); the dispatcher sends it again.", type(error).__name__)

"""The Celery application of what must not wait behind films: ``celery -A workers.errands worker -Q errands``.

It loads no model. An evaluation runs in a child process, one at a time.
"""

import logging
import os
import socket
import threading
from typing import Any

import django
from celery.signals import worker_shutting_down

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.embedded")
django.setup()

from django.db import DatabaseError  # noqa: E402

from apps.core.queue import Bell, answer  # noqa: E402
from apps.core.queue import broker as app  # noqa: E402
from apps.tenants.checks import require_safe_start  # noqa: E402
from workers.measuring import measure_waiting  # noqa: E402

# Here and not in a Celery signal: an exception there would be logged, and the worker would go on.
require_safe_start()

logger = logging.getLogger(__name__)
NAME = f"{socket.gethostname()}:{os.getpid()}"
_stopping = threading.Event()
_measuring = threading.Lock()


@worker_shutting_down.connect
def _stop(**_: Any) -> None:
    _stopping.set()


@app.task(name=Bell.EVALUATE.value)
def evaluate() -> None:
    answer(Bell.EVALUATE)
    if not _measuring.acquire(blocking=False):
        return
    try:
        measure_waiting(worker=NAME, stopping=_stopping)
    except DatabaseError as error:
        # The jobs are safe in their rows; the dispatcher rings again.
        logger.warning("The database did not answer (%s); the next bell tries again.", type(error).__name__)
    finally:
        _measuring.release()

"""The Celery application of the jobs worker, for work that must not wait behind inference jobs.

`config.processes` has its command line with the queues. It loads no model: evaluations and previews run in child
processes, one of each at a time; webhooks, mails and result objects run in its threads, and what goes to a hospital's
destinations in threads of their own.
"""

import logging
import os
import threading
from collections.abc import Callable
from typing import Any

import django
from celery.signals import worker_shutting_down

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.embedded")
django.setup()

from django.db import DatabaseError, InterfaceError  # noqa: E402

from apps.core.process_names import name_of_this_process  # noqa: E402
from apps.core.wake_up import WakeUp  # noqa: E402
from apps.core.wake_up import broker as app  # noqa: E402
from apps.tenants.checks import require_safe_start  # noqa: E402
from workers.creating_results import create_waiting  # noqa: E402
from workers.delivering import deliver_due, send_mails_due  # noqa: E402
from workers.evaluating import evaluate_waiting  # noqa: E402
from workers.previewing import preview_waiting  # noqa: E402
from workers.reporting_commitments import ask_waiting, report_waiting  # noqa: E402
from workers.sending import Senders  # noqa: E402

# Not in a Celery signal handler: Celery would only log its exception, and start the worker.
require_safe_start()

logger = logging.getLogger(__name__)
NAME = name_of_this_process()
_stopping = threading.Event()
_evaluating = threading.Lock()
_previewing = threading.Lock()
_creating = threading.Lock()
_reporting = threading.Lock()
_asking = threading.Lock()
_senders = Senders(worker=NAME, stopping=_stopping)


@worker_shutting_down.connect
def _stop(**_: Any) -> None:
    _stopping.set()


@app.task(name=WakeUp.EVALUATE.value)
def evaluate() -> None:
    _run_exclusively(_evaluating, evaluate_waiting)


@app.task(name=WakeUp.PREVIEW.value)
def preview() -> None:
    _run_exclusively(_previewing, preview_waiting)


@app.task(name=WakeUp.CREATE_RESULTS.value)
def create_results() -> None:
    _run_exclusively(_creating, create_waiting)


@app.task(name=WakeUp.COMMIT.value)
def report_commitments() -> None:
    _run_exclusively(_reporting, report_waiting)
    _run_exclusively(_asking, ask_waiting)


def _run_exclusively(busy: threading.Lock, work: Callable[..., None]) -> None:
    """Run, unless another thread runs it already: that one looks for more work when it has finished."""
    if not busy.acquire(blocking=False):
        return
    try:
        work(worker=NAME, stopping=_stopping)
    except (DatabaseError, InterfaceError) as error:
        _log_outage(error)
    finally:
        busy.release()


@app.task(name=WakeUp.DELIVER.value)
def deliver() -> None:
    """Send mails first: they are about critical findings, and a slow receiver of webhooks must not delay them."""
    try:
        send_mails_due(worker=NAME, stopping=_stopping)
        deliver_due(worker=NAME, stopping=_stopping)
    except (DatabaseError, InterfaceError) as error:
        _log_outage(error)


@app.task(name=WakeUp.SEND.value)
def send() -> None:
    """Let one more thread send to destinations; the thread of this message is free at once for other work."""
    _senders.start_one()


def _log_outage(error: Exception) -> None:
    """Log that the database does not answer; the rows keep the work."""
    logger.warning("The database did not answer (%s); the dispatcher sends it again.", type(error).__name__)

"""The Celery task of the inference worker. Its process has one `InferenceWorker`, with the models.

A `QueuePoller` looks for work without a wake-up message.
"""

import logging
import os
from typing import Any

from celery.signals import worker_init, worker_shutdown, worker_shutting_down
from django.conf import settings
from django.db import DatabaseError, InterfaceError

from apps.core.wake_up import WakeUp, broker
from workers.inference_worker import InferenceWorker
from workers.polling import QueuePoller

logger = logging.getLogger(__name__)
_worker: InferenceWorker | None = None
_poller: QueuePoller | None = None


@worker_init.connect
def _start(**_: Any) -> None:
    global _worker, _poller
    # Before any thread or decoder process is started: they inherit the niceness.
    os.nice(settings.INFERENCE_NICENESS)
    _worker = InferenceWorker(device=settings.INFERENCE_DEVICE)
    _worker.start()
    _poller = QueuePoller(_worker)
    _poller.start()


@worker_shutting_down.connect
def _finish_batch(**_: Any) -> None:
    if _worker is not None:
        _worker.request_stop()


@worker_shutdown.connect
def _stop(**_: Any) -> None:
    if _worker is not None and _poller is not None:
        _poller.close()
        _worker.close()


@broker.task(name=WakeUp.INFER.value)
def read_waiting_studies() -> None:
    if _worker is None:
        return
    try:
        _worker.run()
    except (DatabaseError, InterfaceError) as error:
        # The rows keep the jobs, and the poller tries again soon.
        logger.warning("The database did not answer (%s); the worker tries again soon.", type(error).__name__)

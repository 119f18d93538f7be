"""The Celery task of the inference worker. Its process has one `Drain`, with the models.

A `QueuePoller` looks for work without a wake-up message.
"""

import logging
import os
from typing import Any

from celery.signals import worker_init, worker_shutdown, worker_shutting_down
from django.conf import settings
from django.db import DatabaseError, InterfaceError

from apps.core.wake_up import WakeUp, broker
from workers.drain import Drain
from workers.polling import QueuePoller

logger = logging.getLogger(__name__)
_drain: Drain | None = None
_poller: QueuePoller | None = None


@worker_init.connect
def _start(**_: Any) -> None:
    global _drain, _poller
    # Before any thread or decoder process is started: they inherit the niceness.
    os.nice(settings.INFERENCE_NICENESS)
    _drain = Drain(device=settings.INFERENCE_DEVICE)
    _drain.start()
    _poller = QueuePoller(_drain)
    _poller.start()


@worker_shutting_down.connect
def _finish_batch(**_: Any) -> None:
    if _drain is not None:
        _drain.request_stop()


@worker_shutdown.connect
def _stop(**_: Any) -> None:
    if _drain is not None and _poller is not None:
        _poller.close()
        _drain.close()


@broker.task(name=WakeUp.INFER.value)
def drain() -> None:
    if _drain is None:
        return
    try:
        _drain.run()
    except (DatabaseError, InterfaceError) as error:
        # The rows keep the jobs, and the poller tries again soon.
        logger.warning("The database did not answer (%s); the worker tries again soon.", type(error).__name__)

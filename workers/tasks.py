"""The task of the inference worker. Its process owns one drain, and with it the models.

A watch looks for work that no message announced.
"""

import logging
import os
from typing import Any

from celery.signals import worker_init, worker_shutdown, worker_shutting_down
from django.conf import settings
from django.db import DatabaseError, InterfaceError

from apps.core.wake_up import WakeUp, broker
from workers.drain import Drain
from workers.watch import Watch

logger = logging.getLogger(__name__)
_drain: Drain | None = None
_watch: Watch | None = None


@worker_init.connect
def _start(**_: Any) -> None:
    global _drain, _watch
    # Before any thread and any decoder: each of them has what it was born with.
    os.nice(settings.INFERENCE_NICENESS)
    _drain = Drain(device=settings.INFERENCE_DEVICE)
    _drain.start()
    _watch = Watch(_drain)
    _watch.start()


@worker_shutting_down.connect
def _finish_batch(**_: Any) -> None:
    if _drain is not None:
        _drain.request_stop()


@worker_shutdown.connect
def _stop(**_: Any) -> None:
    if _drain is not None and _watch is not None:
        _watch.close()
        _drain.close()


@broker.task(name=WakeUp.INFER.value)
def drain() -> None:
    if _drain is None:
        return
    try:
        _drain.run()
    except (DatabaseError, InterfaceError) as error:
        # The jobs are safe in their rows; the worker looks again soon.
        logger.warning("The database did not answer (%s); the next look tries again.", type(error).__name__)

"""What the bells wake. The worker process owns one drain, and with it the model."""

import logging
from typing import Any

from celery.signals import worker_init, worker_shutdown, worker_shutting_down
from django.conf import settings
from django.db import DatabaseError

from apps.core.queue import Bell, answer, broker
from workers.drain import Drain

logger = logging.getLogger(__name__)
_drain: Drain | None = None


@worker_init.connect
def _start(**_: Any) -> None:
    global _drain
    _drain = Drain(device=settings.INFERENCE_DEVICE)
    _drain.start()


@worker_shutting_down.connect
def _finish_batch(**_: Any) -> None:
    if _drain is not None:
        _drain.request_stop()


@worker_shutdown.connect
def _stop(**_: Any) -> None:
    if _drain is not None:
        _drain.close()


@broker.task(name=Bell.INFER.value)
def drain() -> None:
    if _drain is None:
        return
    answer(Bell.INFER)
    try:
        _drain.run()
    except DatabaseError as error:
        # The jobs are safe in their rows; the dispatcher rings again.
        logger.warning("The database did not answer (%s); the next bell tries again.", type(error).__name__)

"""Bells: the row is the truth, the message only says that there is work. A lost bell delays; it never loses.

An app asks for work by a bell's name; which task answers it is known to ``workers`` alone.
"""

import enum
import functools
import logging
import os
import time
from typing import Any

from celery import Celery
from django.db import transaction

from apps.core.metrics import BELLS_LOST

logger = logging.getLogger(__name__)
broker = Celery("checxray")
broker.config_from_object("django.conf:settings", namespace="CELERY")
# A request waits for the broker once, and for no longer than this in each step.
_PUBLISH_SECONDS = 0.5
_PUBLISHERS = 16
# A broker that did not answer is left alone for a while, so that a long upload does not wait for it film by film.
_AWAY_SECONDS = 5
_away_until = 0.0
_is_away = False


class Bell(enum.StrEnum):
    """The task that each bell wakes, by its registered name."""

    INFER = "workers.tasks.drain"
    EVALUATE = "workers.errands.evaluate"
    PREVIEW = "workers.errands.preview"
    DELIVER = "workers.errands.deliver"


def ring(bell: Bell) -> None:
    """Ring once the transaction in force has committed (at once where there is none)."""
    transaction.on_commit(lambda: ring_now(bell), robust=True)


def ring_now(bell: Bell) -> bool:
    """Ring without waiting for a commit; False where the broker did not take the message.

    While a message waits, another is not sent: whoever takes it looks for work afterwards.
    """
    global _away_until, _is_away
    now = time.monotonic()
    if now < _away_until:
        BELLS_LOST.inc()
        return False
    if _is_away:
        # One thread asks whether it is back; the others do not wait for the answer.
        _away_until = now + _AWAY_SECONDS
    try:
        with _publishers(broker, os.getpid()).acquire(block=True, timeout=_PUBLISH_SECONDS) as connection:
            if not connection.default_channel.client.llen(_queue(bell)):
                broker.send_task(bell.value, retry=False, connection=connection)
    # Whatever a broker's client raises, the work is safe in its row and the dispatcher rings again.
    except Exception as error:
        BELLS_LOST.inc()
        _is_away, _away_until = True, time.monotonic() + _AWAY_SECONDS
        logger.warning("Bell %s was not delivered (%s); the dispatcher rings again.", bell.name, type(error).__name__)
        return False
    _is_away, _away_until = False, 0.0
    return True


@functools.cache
def _publishers(app: Celery, process: int) -> Any:
    """Connections of this process that give up sooner than those on which a worker waits for messages."""
    limits = {"socket_connect_timeout": _PUBLISH_SECONDS, "socket_timeout": _PUBLISH_SECONDS}
    return app.connection_for_write(transport_options=limits).Pool(_PUBLISHERS)


@functools.cache
def _queue(bell: Bell) -> str:
    """The bell's own queue, a list in the broker."""
    return str(broker.amqp.router.route({}, bell.value)["queue"].name)

"""Bells: the row is the truth, the message only says that there is work. A lost bell delays; it never loses.

An app asks for work by a bell's name; which task answers it is known to ``workers`` alone.
"""

import enum
import logging
import time

from celery import Celery
from django.db import transaction

from apps.core.metrics import BELLS_LOST

logger = logging.getLogger(__name__)
broker = Celery("checxray")
broker.config_from_object("django.conf:settings", namespace="CELERY")
# How long a bell counts as pending where nobody answers it.
PENDING_SECONDS = 5
# A broker that did not answer is left alone for as long, so that a long upload does not wait for it film by film.
_away_until = 0.0


class Bell(enum.StrEnum):
    """The task that each bell wakes, by its registered name."""

    INFER = "workers.tasks.drain"
    EVALUATE = "workers.errands.evaluate"
    PREVIEW = "workers.errands.preview"
    DELIVER = "workers.errands.deliver"


def ring(bell: Bell) -> None:
    """Ring once the transaction in force has committed (at once where there is none)."""
    transaction.on_commit(lambda: ring_now(bell), robust=True)


def ring_now(bell: Bell, *, again: bool = False) -> bool:
    """Ring without waiting for a commit; False where the broker did not take the message.

    A bell that rang and was not answered yet is not rung again, unless ``again`` says so.
    """
    global _away_until
    if time.monotonic() < _away_until:
        BELLS_LOST.inc()
        return False
    try:
        with broker.pool.acquire(block=True, timeout=1) as connection:
            pending = connection.default_channel.client
            if not pending.set(bell.value, 1, nx=True, ex=PENDING_SECONDS) and not again:
                return True
        broker.send_task(bell.value, retry=False)
    # Whatever a broker's client raises, the work is safe in its row and the dispatcher rings again.
    except Exception as error:
        BELLS_LOST.inc()
        _away_until = time.monotonic() + PENDING_SECONDS
        logger.warning("Bell %s was not delivered (%s); the dispatcher rings again.", bell.name, type(error).__name__)
        return False
    return True


def answer(bell: Bell) -> None:
    """Say, before looking for work, that the bell was heard: whatever comes from now on rings anew."""
    try:
        with broker.pool.acquire(block=True, timeout=1) as connection:
            connection.default_channel.client.delete(bell.value)
    except Exception as error:
        logger.warning("Bell %s stays marked for %d s (%s).", bell.name, PENDING_SECONDS, type(error).__name__)

"""Wake-up messages: database rows hold the work, and a Celery message only wakes a worker. A lost one delays work.

An app names the kind of work; which task takes the message is known to ``workers`` alone.
"""

import enum
import functools
import logging
import os
import time
from typing import Any

from celery import Celery
from django.db import transaction

from apps.core.metrics import WAKE_UPS_LOST

logger = logging.getLogger(__name__)
broker = Celery("checxray")
broker.config_from_object("django.conf:settings", namespace="CELERY")
# A request waits for the broker once, and for no longer than this in each step.
_PUBLISH_SECONDS = 0.5
_PUBLISHERS = 16
# A broker that did not answer is not used for a while, so that a long upload does not wait for it at every instance.
_AWAY_SECONDS = 5
_away_until = 0.0
_is_away = False


class WakeUp(enum.StrEnum):
    """A kind of wake-up message, by the registered name of the Celery task that takes it."""

    INFER = "workers.tasks.drain"
    EVALUATE = "workers.jobs.evaluate"
    PREVIEW = "workers.jobs.preview"
    DELIVER = "workers.jobs.deliver"
    CREATE_RESULTS = "workers.jobs.create_results"
    SEND = "workers.jobs.send"
    COMMIT = "workers.jobs.report_commitments"


def wake_after_commit(wake_up: WakeUp) -> None:
    """Send a wake-up message once the transaction in force has committed, or at once where there is none."""
    transaction.on_commit(lambda: wake_now(wake_up), robust=True)


def wake_now(wake_up: WakeUp) -> bool:
    """Send a wake-up message now.

    While a message waits, no other is sent: the worker that takes it looks for work afterwards.

    Returns:
        False where the broker did not take the message.
    """
    global _away_until, _is_away
    now = time.monotonic()
    if now < _away_until:
        WAKE_UPS_LOST.inc()
        return False
    if _is_away:
        # One thread tries whether the broker answers again; the others do not wait for it.
        _away_until = now + _AWAY_SECONDS
    try:
        with _publishers(broker, os.getpid()).acquire(block=True, timeout=_PUBLISH_SECONDS) as connection:
            if not connection.default_channel.client.llen(_queue(wake_up)):
                broker.send_task(wake_up.value, retry=False, connection=connection)
    # Any exception of the broker's client may be ignored: the row keeps the work, and the dispatcher sends it again.
    except Exception as error:
        WAKE_UPS_LOST.inc()
        _is_away, _away_until = True, time.monotonic() + _AWAY_SECONDS
        logger.warning(
            "Wake-up message %s was not delivered (%s); the dispatcher sends it again.",
            wake_up.name,
            type(error).__name__,
        )
        return False
    _is_away, _away_until = False, 0.0
    return True


@functools.cache
def _publishers(app: Celery, process: int) -> Any:
    """Connections of this process that give up sooner than those on which a worker waits for messages."""
    limits = {"socket_connect_timeout": _PUBLISH_SECONDS, "socket_timeout": _PUBLISH_SECONDS}
    return app.connection_for_write(transport_options=limits).Pool(_PUBLISHERS)


@functools.cache
def _queue(wake_up: WakeUp) -> str:
    """The queue of this kind of message, a list in the broker."""
    return str(broker.amqp.router.route({}, wake_up.value)["queue"].name)

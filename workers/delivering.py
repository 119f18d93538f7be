"""Delivers webhooks and mails: claim one, send it, store the outcome, until none is due."""

import json
import logging
import threading
from functools import partial

from django.db import close_old_connections

from apps.core.outbound import UnreachableError
from apps.core.webhooks import secrets_of, send_message
from apps.critical.mails import MAILS, finish_mail, send_mail
from apps.events.models import WebhookDelivery
from apps.events.services import DELIVERIES, DeliveryOutcome, finish_delivery
from workers.children import repeat_until_stored

logger = logging.getLogger(__name__)


def send_mails_due(*, worker: str, stopping: threading.Event) -> None:
    while not stopping.is_set():
        close_old_connections()
        for mail in (claimed := MAILS.claim(worker=worker)):
            repeat_until_stored(partial(finish_mail, sent=send_mail(mail)), stopping)
        if not claimed:
            return


def deliver_due(*, worker: str, stopping: threading.Event) -> None:
    while not stopping.is_set():
        close_old_connections()
        delivery = DELIVERIES.claim_one(worker=worker)
        if delivery is None:
            return
        outcome = _attempt(delivery)
        repeat_until_stored(partial(finish_delivery, delivery=delivery, outcome=outcome), stopping)


def _attempt(delivery: WebhookDelivery) -> DeliveryOutcome:
    """Send one message. No transaction is open while the receiver answers."""
    endpoint = delivery.endpoint
    body = json.dumps(delivery.message, sort_keys=True).encode()
    try:
        names = endpoint.secret_names
        return DeliveryOutcome(
            send_message(url=endpoint.url, message_id=delivery.message_id, body=body, secrets=secrets_of(names))
        )
    except UnreachableError as error:
        logger.warning("A webhook was not delivered to the endpoint %s.", endpoint.pk)
        return DeliveryOutcome(None, str(error))

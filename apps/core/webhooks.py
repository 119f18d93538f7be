"""Standard Webhooks 1.0: signed messages to other systems; another attempt keeps the id of its message."""

import base64
import hashlib
import hmac
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.utils import timezone
from django.utils.crypto import salted_hmac

from apps.core.outbound import post

_HOUR = 3600
PAUSES = (30, 120, 600, 1800, _HOUR, 3 * _HOUR, 6 * _HOUR, 12 * _HOUR, 24 * _HOUR)
"""The pauses after failed attempts, in seconds. After two days a delivery is given up."""

# After a new secret was made, messages are signed with the former one as well for this long.
SECRETS_OVERLAP = timedelta(hours=24)


def names_of_secrets(owner: UUID, number: int, made: datetime) -> list[str]:
    """The secrets that sign messages of an endpoint, newest first; for a while the former one is among them.

    Args:
        owner: the endpoint's id.
        number: of its newest secret, which was made at ``made``.
    """
    has_former = number > 1 and timezone.now() < made + SECRETS_OVERLAP
    return [f"{owner}:{each}" for each in ([number, number - 1] if has_former else [number])]


def secret_of(name: str) -> str:
    """The secret with which a receiver verifies signatures. It is derived from SECRET_KEY and stored nowhere."""
    return _secret(name, settings.SECRET_KEY)


def secrets_of(names: Sequence[str]) -> list[str]:
    """The secrets to sign with: for each name one of SECRET_KEY and one of each of SECRET_KEY_FALLBACKS."""
    return [_secret(name, key) for name in names for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)]


def _secret(name: str, key: str | bytes) -> str:
    derived = salted_hmac("checxray.webhook", name, secret=key, algorithm="sha256").digest()
    return f"whsec_{base64.b64encode(derived).decode()}"


def send_message(
    *, url: str, message_id: str, body: bytes, secrets: Sequence[str], networks: Sequence[str] | None = None
) -> int:
    """Sign and send one message.

    Args:
        networks: the private networks of a tenant that are allowed; those of the settings by default.

    Returns:
        The HTTP status of the answer.

    Raises:
        UnreachableError: nothing was sent, or no answer came.
    """
    at = int(time.time())
    signatures = " ".join(_signature(secret, message_id, at, body) for secret in secrets)
    return post(
        url,
        body,
        {
            "Content-Type": "application/json",
            "User-Agent": "Checxray",
            "webhook-id": message_id,
            "webhook-timestamp": str(at),
            "webhook-signature": signatures,
        },
        networks,
    )


def _signature(secret: str, message_id: str, at: int, body: bytes) -> str:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.new(key, f"{message_id}.{at}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"

"""Stores when an API key was last used, so that administrators see which keys are still needed."""

import datetime
import threading
import time
from uuid import UUID

from django.db.models import Q
from django.db.models.functions import Now

from apps.tenants.models import ApiClient
from apps.tenants.scope import tenant_tx

_EVERY_SECONDS = 60
_MOST_KEYS = 10_000
_noted: dict[UUID, float] = {}
_lock = threading.Lock()


def note_use(client: ApiClient) -> None:
    """Store that the key is used; once a minute at most, since a PACS sends thousands of instances in that time.

    Called before the request's own transaction, which may be rolled back.
    """
    now = time.monotonic()
    with _lock:
        if now - _noted.get(client.pk, -_EVERY_SECONDS) < _EVERY_SECONDS:
            return
        if len(_noted) >= _MOST_KEYS:
            _noted.clear()
        _noted[client.pk] = now
    # Another web process may have stored it.
    is_due = Q(last_used=None) | Q(last_used__lt=Now() - datetime.timedelta(seconds=_EVERY_SECONDS))
    with tenant_tx(client.tenant.id):
        ApiClient.objects.filter(is_due, pk=client.pk).update(last_used=Now())

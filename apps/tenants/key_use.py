"""Stores when an API key was last used, so that administrators see which keys are still needed."""

import threading
import time
from uuid import UUID

from apps.tenants.models import ApiClient
from apps.tenants.scope import run_in_tenant

_EVERY_SECONDS = 60
_USED = """
update tenants_apiclient set last_used = now()
 where id = %s and (last_used is null or last_used < now() - make_interval(secs => %s))
"""
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
    run_in_tenant(client.tenant.id, _USED, [client.pk, _EVERY_SECONDS])

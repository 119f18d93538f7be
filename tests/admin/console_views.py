"""The console views that a hospital's audit trail records."""

from typing import Any

from apps.audit.models import AuditEvent
from apps.tenants.scope import tenant_tx


def console_views(tenant: Any) -> list[str]:
    """The names of the views, in order."""
    with tenant_tx(tenant.pk):
        events = AuditEvent.objects.filter(action=AuditEvent.Action.CONSOLE_VIEWED).order_by("at")
        return [event.operation for event in events]

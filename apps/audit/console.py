"""What operators look at across tenants stands in each tenant's own trail."""

from collections.abc import Iterable
from uuid import UUID

from django.db import transaction
from django.http import HttpRequest

from apps.audit.models import AuditEvent
from apps.audit.services import actor_of, operation_of, record
from apps.tenants.scope import tenants_turn


def shown_to_operator(request: HttpRequest, tenants: Iterable[UUID | None], *, object_id: UUID | None = None) -> None:
    """Write one line for each tenant whose rows a page of the console shows; None, the platform, is no tenant."""
    by, operation = actor_of(request), operation_of(request)
    with transaction.atomic():
        for tenant_id in sorted(set(tenants) - {None}, key=str):
            assert tenant_id is not None
            with tenants_turn(tenant_id):
                record(action=AuditEvent.Action.CONSOLE_VIEWED, by=by, object_id=object_id, operation=operation)

"""What operators look at across tenants stands in each tenant's own trail."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.db import transaction
from django.http import HttpRequest, HttpResponse

from apps.audit.models import AuditEvent
from apps.audit.services import actor_of, operation_of, record, record_once
from apps.tenants.console import OperatorAdmin
from apps.tenants.scope import tenants_turn


def shown_to_operator(
    request: HttpRequest, tenants: Iterable[UUID | None], *, object_id: UUID | None = None, is_reload: bool = False
) -> None:
    """Write one line for each tenant whose rows a page of the console shows; None, the platform, is no tenant.

    A part of a page that its script loads again and again (``is_reload``) is one access.
    """
    write = record_once if is_reload else record
    by, operation = actor_of(request), operation_of(request)
    with transaction.atomic():
        for tenant_id in sorted({each for each in tenants if each is not None}, key=str):
            with tenants_turn(tenant_id):
                write(action=AuditEvent.Action.CONSOLE_VIEWED, by=by, object_id=object_id, operation=operation)


class ShowsTenants(OperatorAdmin):
    """A list of the console, and its single objects, whose rows are each about a tenant."""

    tenant_attribute = "for_tenant_id"

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        changes = super().get_changelist_instance(request)
        shown_to_operator(request, [getattr(row, self.tenant_attribute) for row in changes.result_list])
        return changes

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> HttpResponse:
        response = super().change_view(request, object_id, *args, **kwargs)
        row = self.get_object(request, object_id)
        if row is not None:
            shown_to_operator(request, [getattr(row, self.tenant_attribute)], object_id=row.pk)
        return response

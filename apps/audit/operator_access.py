"""Records in each tenant's audit trail which of its data the console showed to an operator."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.db import transaction
from django.http import HttpRequest, HttpResponse

from apps.audit.models import AuditEvent
from apps.audit.services import actor_of, operation_of, record, record_once
from apps.tenants.operator_admin import OperatorAdmin
from apps.tenants.scope import inside_tenant


def record_operator_access(
    request: HttpRequest, tenants: Iterable[UUID | None], *, object_id: UUID | None = None, is_reload: bool = False
) -> None:
    """Write one audit line for each tenant whose rows a page of the console shows; None stands for the platform.

    Repeated loads of a part of a page by its script (``is_reload``) count as one access.
    """
    write = record_once if is_reload else record
    by, operation = actor_of(request), operation_of(request)
    with transaction.atomic():
        for tenant_id in sorted({each for each in tenants if each is not None}, key=str):
            with inside_tenant(tenant_id):
                write(action=AuditEvent.Action.CONSOLE_VIEWED, by=by, object_id=object_id, operation=operation)


class ShowsTenants(OperatorAdmin):
    """Base class of console pages whose rows each belong to a tenant: it records which tenants were shown."""

    tenant_attribute = "for_tenant_id"

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        changes = super().get_changelist_instance(request)
        record_operator_access(request, [getattr(row, self.tenant_attribute) for row in changes.result_list])
        return changes

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> HttpResponse:
        response = super().change_view(request, object_id, *args, **kwargs)
        row = self.get_object(request, object_id)
        if row is not None:
            record_operator_access(request, [getattr(row, self.tenant_attribute)], object_id=row.pk)
        return response

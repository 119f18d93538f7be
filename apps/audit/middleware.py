"""Middleware that records refused requests in the tenant's audit trail, although their transaction is rolled back."""

import logging
from collections.abc import Callable
from http import HTTPStatus

from django.db import DatabaseError, InterfaceError
from django.http import HttpRequest, HttpResponseBase

from apps.audit.models import AuditEvent
from apps.audit.services import actor_of, operation_of, record
from apps.tenants.scope import tenant_tx

logger = logging.getLogger(__name__)
# The answer for another tenant's object is "not found", so a missing object may be a forbidden one.
_REFUSALS = (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND)


class RefusalAuditMiddleware:
    """Runs outside ``TenantTransactionMiddleware``, so that its line has a transaction of its own."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        if response.status_code in _REFUSALS and request.resolver_match is not None:
            _record(request)
        return response


def _record(request: HttpRequest) -> None:
    tenant = getattr(request, "tenant", None)
    if tenant is None:
        return
    try:
        with tenant_tx(tenant.id):
            record(
                action=AuditEvent.Action.REQUEST_REFUSED,
                by=actor_of(request),
                operation=operation_of(request),
                outcome=AuditEvent.Outcome.MINOR_FAILURE,
            )
    except (DatabaseError, InterfaceError) as error:
        # The request stays refused; only its audit line is missing.
        logger.error("A refused request could not be recorded: %s.", type(error).__name__)

"""Middleware for refused API keys: it counts them by address, audits them, and answers 429 once there are too many."""

import logging
from collections.abc import Callable
from http import HTTPStatus
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponseBase

from apps.accounts.guard import attempts_per_line
from apps.audit.models import AuditEvent, SecurityEvent
from apps.audit.services import Actor, operation_of, record, record_security_event
from apps.core import rate_limits
from apps.core.client_address import client_address, network_of
from apps.core.problems import problem_response
from apps.tenants.models import ApiClient, Tenant
from apps.tenants.scope import tenant_tx
from apps.tenants.services import secret_digest, tenant_of_key

logger = logging.getLogger(__name__)


class RefusedKeyMiddleware:
    """Runs outside ``TenantTransactionMiddleware``, so that what it writes has a transaction of its own.

    A key has 256 random bits and cannot be guessed; the limit bounds the cost of refusals. A valid key is always
    accepted: a forgotten machine with an old key must not stop a PACS at the same address.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        if response.status_code != HTTPStatus.UNAUTHORIZED or "Authorization" not in request.headers:
            return response
        address = client_address(request)
        place, window = network_of(address), settings.SIGN_IN_WINDOW_SECONDS
        count = rate_limits.add(rate_limits.key_of("api-key", place), window)
        try:
            _record(request, address, place)
        except DatabaseError as error:
            # The request stays refused; only its audit line is missing.
            logger.error("A refused key could not be recorded: %s.", type(error).__name__)
        if count.number <= settings.KEY_FAILURES_PER_ADDRESS:
            return response
        response.close()
        return problem_response(
            HTTPStatus.TOO_MANY_REQUESTS,
            "Too many requests from your address came with keys that are unknown, revoked or expired. Stop them and "
            "ask your administrator for a key.",
            "keys-throttled",
            retry_after=count.seconds_left,
        )


def _record(request: HttpRequest, address: str | None, place: str) -> None:
    claimed = tenant_of_key(request.headers["Authorization"].partition(" ")[2].strip())
    tenant_id = claimed[0] if claimed and Tenant.objects.filter(pk=claimed[0]).exists() else None
    # Many refusals in a row write a line for the 1st, 2nd, 4th, 8th … only.
    key = rate_limits.key_of("api-key-of", place, str(tenant_id))
    amount = attempts_per_line(rate_limits.add(key, settings.SIGN_IN_WINDOW_SECONDS).number)
    if not amount:
        return
    if claimed is None or tenant_id is None:
        record_security_event(action=SecurityEvent.Action.KEY_REFUSED, address=address, amount=amount)
        return
    with tenant_tx(tenant_id):
        ended: UUID | None = (
            ApiClient.objects.filter(key_hash=secret_digest(claimed[1])).values_list("pk", flat=True).first()
        )
        record(
            action=AuditEvent.Action.KEY_REFUSED,
            by=Actor(name="api:refused", address=address),
            object_id=ended,
            amount=amount,
            operation=operation_of(request),
            outcome=AuditEvent.Outcome.MINOR_FAILURE,
        )

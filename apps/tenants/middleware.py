"""Opens the tenant's transaction around a whole request, rendering included.

Django's ATOMIC_REQUESTS ends before a template response is rendered, so lazy querysets would show empty pages.
"""

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeVar, cast
from uuid import UUID

from django.db import DatabaseError, transaction
from django.http import HttpRequest, HttpResponseBase
from django.urls import Resolver404, resolve

from apps.core.problems import problem_response
from apps.tenants.http import TenantRequest
from apps.tenants.models import ApiClient, Membership
from apps.tenants.scope import tenant_tx
from apps.tenants.services import find_api_client, tenant_of_key

SESSION_KEY = "tenant_id"
_View = TypeVar("_View", bound=Callable[..., Any])


def opens_own_transaction(view: _View) -> _View:
    """Mark a view that streams: it enters ``tenant_tx(request.tenant.id)`` itself, after the slow part."""
    view.opens_own_transaction = True  # type: ignore[attr-defined]
    return view


@dataclass(frozen=True)
class _Claim:
    """The tenant that a request says it is of: by its key's secret, or else by its session."""

    tenant_id: UUID
    secret: str | None


class TenantTransactionMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, raw: HttpRequest) -> HttpResponseBase:
        request = cast(TenantRequest, raw)
        request.tenant = request.membership = request.api_client = None
        claim = _claim_of(request)
        if claim is None:
            return self.get_response(request)
        try:
            with tenant_tx(claim.tenant_id):
                if _identify(request, claim) and not _opens_own_transaction(request):
                    return self._respond(request)
            return self.get_response(request)
        except DatabaseError:
            # A commit or a connection failed after the view: nothing of the request was kept.
            return problem_response(
                HTTPStatus.SERVICE_UNAVAILABLE, "The database did not answer; try again.", "unavailable"
            )

    def _respond(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        if response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            transaction.set_rollback(True)
        return response


def _claim_of(request: TenantRequest) -> _Claim | None:
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        claimed = tenant_of_key(key.strip())
        return _Claim(*claimed) if claimed else None
    tenant_id = request.session.get(SESSION_KEY)
    return _Claim(UUID(tenant_id), None) if tenant_id and request.user.is_authenticated else None


def _identify(request: TenantRequest, claim: _Claim) -> bool:
    """Whether the claim is true; if so, the request says who is there."""
    who: ApiClient | Membership | None
    if claim.secret is not None:
        who = request.api_client = find_api_client(secret=claim.secret)
    else:
        memberships = Membership.objects.select_related("tenant").filter(tenant__is_active=True)
        who = request.membership = memberships.filter(user=request.user.pk).first()
    request.tenant = who.tenant if who is not None else None
    return who is not None


def _opens_own_transaction(request: HttpRequest) -> bool:
    try:
        view = resolve(request.path_info).func
    except Resolver404:
        return False
    return getattr(view, "opens_own_transaction", False)

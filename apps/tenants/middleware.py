"""Middleware that opens the tenant's transaction around a whole request, including the rendering of templates.

Django's ATOMIC_REQUESTS ends before a template response is rendered, so lazy querysets would show empty pages.
"""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, TypeVar, cast

from django.db import DatabaseError, InterfaceError, transaction
from django.http import HttpRequest, HttpResponseBase
from django.urls import Resolver404, resolve

from apps.core.problems import problem_response
from apps.tenants.http import TenantRequest
from apps.tenants.key_use import note_use
from apps.tenants.models import ApiClient, Membership, Tenant
from apps.tenants.scope import tenant_tx
from apps.tenants.services import find_api_client, tenant_of_key
from apps.tenants.sessions import SESSION_KEY, membership_of_session

_View = TypeVar("_View", bound=Callable[..., Any])


def opens_own_transaction(view: _View) -> _View:
    """Mark a view that streams: it enters ``tenant_tx(request.tenant.id)`` itself, after the slow part."""
    view.opens_own_transaction = True  # type: ignore[attr-defined]
    return view


class TenantTransactionMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, raw: HttpRequest) -> HttpResponseBase:
        request = cast(TenantRequest, raw)
        request.tenant = request.membership = request.api_client = None
        try:
            request.tenant = tenant = _identify(request)
            if tenant is None or _opens_own_transaction(request):
                return self.get_response(request)
            with tenant_tx(tenant.id):
                return self._respond(request)
        except (DatabaseError, InterfaceError):
            # A commit or a connection failed after the view: nothing of the request was kept.
            return problem_response(
                HTTPStatus.SERVICE_UNAVAILABLE, "The database did not answer; try again.", "unavailable"
            )

    def _respond(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        if response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            transaction.set_rollback(True)
        return response


def _identify(request: TenantRequest) -> Tenant | None:
    """Identify the API key or the session's membership, and return its tenant."""
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    found: ApiClient | Membership | None = None
    if scheme.lower() == "bearer":
        claimed = tenant_of_key(key.strip())
        if claimed is not None:
            found = request.api_client = find_api_client(tenant_id=claimed[0], secret=claimed[1])
            if request.api_client is not None:
                note_use(request.api_client)
    elif request.session.get(SESSION_KEY) and request.user.is_authenticated:
        found = request.membership = membership_of_session(request.session, request.user.pk)
    return found.tenant if found is not None else None


def _opens_own_transaction(request: HttpRequest) -> bool:
    try:
        view = resolve(request.path_info).func
    except Resolver404:
        return False
    return getattr(view, "opens_own_transaction", False)

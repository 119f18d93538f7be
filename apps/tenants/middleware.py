"""Opens the tenant's transaction around a whole request, rendering included.

Django's ATOMIC_REQUESTS ends before a template response is rendered, so lazy querysets would show empty pages.
"""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, TypeVar
from uuid import UUID

from django.db import DatabaseError, transaction
from django.http import HttpRequest, HttpResponseBase
from django.urls import Resolver404, resolve

from apps.core.problems import problem_response
from apps.tenants.models import Membership, Tenant
from apps.tenants.scope import tenant_tx
from apps.tenants.services import find_api_client, tenant_of_key

SESSION_KEY = "tenant_id"
_View = TypeVar("_View", bound=Callable[..., Any])


def opens_own_transaction(view: _View) -> _View:
    """Mark a view that streams: it enters ``tenant_tx(request.tenant.id)`` itself, after the slow part."""
    view.opens_own_transaction = True  # type: ignore[attr-defined]
    return view


class TenantTransactionMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        request.tenant = request.membership = request.api_client = None  # type: ignore[attr-defined]
        identify: Callable[[HttpRequest], bool]
        claimed = _claimed_by_key(request)
        if claimed is not None:
            tenant_id, secret = claimed
            identify = lambda request: _identify_client(request, tenant_id, secret)  # noqa: E731
        else:
            tenant_id = _claimed_by_session(request)
            identify = lambda request: _identify_member(request, tenant_id)  # noqa: E731
        if tenant_id is None:
            return self.get_response(request)
        try:
            return self._respond(request, tenant_id, identify)
        except DatabaseError:
            # A commit or a connection failed after the view: nothing of the request was kept.
            return problem_response(
                HTTPStatus.SERVICE_UNAVAILABLE, "The database did not answer; try again.", "unavailable"
            )

    def _respond(
        self, request: HttpRequest, tenant_id: UUID, identify: Callable[[HttpRequest], bool]
    ) -> HttpResponseBase:
        streams = _opens_own_transaction(request)
        with tenant_tx(tenant_id):
            known = identify(request)
            if known and not streams:
                return self._in_transaction(request)
        return self.get_response(request)

    def _in_transaction(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        if response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            transaction.set_rollback(True)
        return response


def _claimed_by_key(request: HttpRequest) -> tuple[UUID, str] | None:
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    return tenant_of_key(key.strip()) if scheme.lower() == "bearer" else None


def _claimed_by_session(request: HttpRequest) -> UUID | None:
    claimed = request.session.get(SESSION_KEY)
    return UUID(claimed) if claimed and request.user.is_authenticated else None


def _identify_client(request: HttpRequest, tenant_id: UUID, secret: str) -> bool:
    client = find_api_client(secret=secret)
    if client is None:
        return False
    request.api_client = client  # type: ignore[attr-defined]
    return _enter(request, tenant_id)


def _identify_member(request: HttpRequest, tenant_id: UUID | None) -> bool:
    membership = Membership.objects.filter(user_id=request.user.pk).first()
    if membership is None or tenant_id is None:
        return False
    request.membership = membership  # type: ignore[attr-defined]
    return _enter(request, tenant_id)


def _enter(request: HttpRequest, tenant_id: UUID) -> bool:
    request.tenant = Tenant.objects.filter(id=tenant_id, is_active=True).first()  # type: ignore[attr-defined]
    if request.tenant is None:  # type: ignore[attr-defined]
        request.membership = request.api_client = None  # type: ignore[attr-defined]
        return False
    return True


def _opens_own_transaction(request: HttpRequest) -> bool:
    try:
        view = resolve(request.path_info).func
    except Resolver404:
        return False
    return getattr(view, "opens_own_transaction", False)

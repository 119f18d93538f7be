"""Access to the portal's pages: for signed-in members of the tenant in force."""

from collections.abc import Callable
from functools import wraps
from http import HTTPStatus
from typing import Any, TypeVar

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect

from apps.accounts.models import User
from apps.core.problems import problem_response
from apps.tenants.models import Membership, Tenant

_View = TypeVar("_View", bound=Callable[..., HttpResponseBase])


class MemberRequest(HttpRequest):
    """A request that ``members_only`` let through."""

    user: User
    tenant: Tenant
    membership: Membership


def wants_json(request: HttpRequest) -> bool:
    return request.headers.get("Accept", "").startswith("application/json")


def members_only(view: _View) -> _View:
    """Show a page to members, and redirect other users to sign in or choose a hospital. No cache stores the page."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        response = _redirect_non_member(request) or view(request, *args, **kwargs)
        if not response.has_header("Cache-Control"):
            response["Cache-Control"] = "private, no-store"
        return response

    return guarded  # type: ignore[return-value]


def _redirect_non_member(request: HttpRequest) -> HttpResponseBase | None:
    if getattr(request, "membership", None) is not None:
        return None
    if wants_json(request):
        return problem_response(HTTPStatus.UNAUTHORIZED, "Your session has ended: sign in again.", "signed-out")
    if not request.user.is_authenticated:
        return redirect_to_login(request.get_full_path())
    return redirect("portal:hospital")

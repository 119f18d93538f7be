"""Access to the portal's pages: for signed-in members of the tenant in force."""

from collections.abc import Callable
from functools import wraps
from http import HTTPStatus
from typing import Any, TypeVar

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.utils.translation import gettext as _

from apps.accounts.models import User
from apps.core.errors import ConflictError
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


def require_member_of_page(request: MemberRequest, member: str) -> None:
    """Refuse what a page sends after its browser changed the user or the hospital in another window.

    Args:
        member: the membership for which the page was opened; empty where the sender is no page.
    """
    if member and member != str(request.membership.pk):
        raise ConflictError(
            _("Another person or hospital was chosen in this browser, and nothing was sent: reload the page."),
            "other-member",
        )


def _redirect_non_member(request: HttpRequest) -> HttpResponseBase | None:
    if getattr(request, "membership", None) is not None:
        return None
    if wants_json(request):
        return problem_response(HTTPStatus.UNAUTHORIZED, _("Your session has ended: sign in again."), "signed-out")
    if not request.user.is_authenticated:
        return redirect_to_login(request.get_full_path())
    return redirect("portal:hospital")

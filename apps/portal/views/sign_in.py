"""The pages to sign in, to choose the hospital, and to sign out."""

from typing import Any
from uuid import UUID

from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.views import LoginView, LogoutView, redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme, urlencode
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from apps.accounts.sign_in import SignInForm, set_refusal_status
from apps.audit.models import AuditEvent
from apps.audit.services import actor_of, record
from apps.core.errors import NotFoundError
from apps.portal.worklist_query import LIST_KEY, SEARCH_KEY
from apps.tenants.middleware import opens_own_transaction
from apps.tenants.models import Tenant
from apps.tenants.scope import tenant_tx
from apps.tenants.services import find_membership, tenants_of_user
from apps.tenants.sessions import enter_tenant


class SignIn(LoginView):
    http_method_names = ["get", "post", "head", "options"]  # noqa: RUF012
    template_name = "registration/sign_in.html"
    authentication_form = SignInForm

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        # Removes everything of an earlier user of this browser, also the hospital and the search text.
        self.request.session.flush()
        super().form_valid(form)
        return _after_sign_in(self.request, self.get_redirect_url())

    def form_invalid(self, form: AuthenticationForm) -> HttpResponse:
        return set_refusal_status(self.request, super().form_invalid(form))


def _after_sign_in(request: HttpRequest, wanted: str) -> HttpResponse:
    hospitals = tenants_of_user(user_id=_user_id(request))
    if len(hospitals) == 1:
        enter_hospital(request, hospitals[0])
        return redirect(wanted or "portal:worklist")
    if request.user.is_staff:
        return redirect("admin:index")
    # A user without a hospital may want to accept an invitation; other pages explain what is missing.
    if not hospitals and wanted:
        return redirect(wanted)
    query = f"?{urlencode({'next': wanted})}" if wanted else ""
    return redirect(reverse("portal:hospital") + query)


def _user_id(request: HttpRequest) -> UUID:
    assert request.user.is_authenticated
    return request.user.pk


def enter_hospital(request: HttpRequest, tenant: Tenant) -> None:
    membership = find_membership(tenant_id=tenant.id, user_id=_user_id(request))
    if membership is None:
        raise NotFoundError(_("You are not a member of this hospital."))
    enter_tenant(request.session, membership)
    for key in (SEARCH_KEY, LIST_KEY):
        request.session.pop(key, None)
    with tenant_tx(tenant.id):
        record(action=AuditEvent.Action.USER_SIGNED_IN, by=actor_of(request))


class SignOut(LogoutView):
    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        response = super().post(request, *args, **kwargs)
        response["Clear-Site-Data"] = '"cache"'
        return response


sign_in = opens_own_transaction(SignIn.as_view())
sign_out = opens_own_transaction(SignOut.as_view())


@opens_own_transaction
@never_cache
@require_http_methods(["GET", "POST"])
def hospital(request: HttpRequest) -> HttpResponse:
    """The page to choose the hospital; it explains what to do where the user is a member of none."""
    if not request.user.is_authenticated:
        return redirect_to_login(request.get_full_path())
    hospitals = tenants_of_user(user_id=request.user.pk)
    if request.method == "POST":
        chosen = next((each for each in hospitals if each.slug == request.POST.get("hospital")), None)
        if chosen is None:
            raise NotFoundError(_("You are not a member of this hospital."))
        enter_hospital(request, chosen)
        return redirect(_safe_next(request) or "portal:worklist")
    context = {"hospitals": hospitals, "next": _safe_next(request)}
    return render(request, "portal/hospital.html", context)


def _safe_next(request: HttpRequest) -> str:
    wanted = request.POST.get("next") or request.GET.get("next") or ""
    allowed = url_has_allowed_host_and_scheme(wanted, {request.get_host()}, require_https=request.is_secure())
    return wanted if allowed else ""

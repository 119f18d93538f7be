"""The console's pages for tenants: their members and API keys, and the invitation of a first administrator."""

from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from apps.accounts.links import Link, send_link
from apps.accounts.models import User
from apps.accounts.services import invite_first_admin
from apps.accounts.services.keys import revoke_key_as_operator
from apps.audit.operator_access import record_operator_access
from apps.audit.services import actor_of
from apps.core.errors import ChecxrayError, NotFoundError
from apps.tenants.models import ApiClient, Membership, Tenant
from apps.tenants.operator_admin import OperatorAdmin
from apps.tenants.scope import tenant_tx


class AdminForm(forms.Form):
    email = forms.EmailField(
        max_length=254, help_text="Of the person who will look after the hospital's people and keys."
    )


@admin.register(Tenant)
class TenantAdmin(OperatorAdmin):
    is_writable = True
    list_display = ("name", "slug", "ae_title", "is_active", "created")
    fields = ("name", "slug", "ae_title", "is_active", "private_networks", "created", "members", "keys")
    readonly_fields = ("created", "members", "keys")
    change_form_template = "admin/tenants/tenant/change_form.html"
    ordering = ("name",)

    def get_readonly_fields(self, request: HttpRequest, obj: Tenant | None = None) -> Any:
        # A slug is in file names and in what users wrote down.
        return (*self.readonly_fields, "slug") if obj else self.readonly_fields

    def get_fields(self, request: HttpRequest, obj: Tenant | None = None) -> Any:
        return self.fields if obj else ("name", "slug", "ae_title", "is_active", "private_networks")

    @admin.display(description="Members")
    def members(self, tenant: Tenant) -> SafeString:
        with tenant_tx(tenant.pk):
            rows = [(each.user, each.get_role_display()) for each in Membership.objects.select_related("user")]
        return format_html_join("", "{}: {}<br>", rows) or SafeString("None yet.")

    @admin.display(description="API keys")
    def keys(self, tenant: Tenant) -> SafeString:
        with tenant_tx(tenant.pk):
            rows = [(key, ", ".join(key.scopes), _state(key)) for key in ApiClient.objects.order_by("created")]
        return format_html_join("", "{}: {} ({})<br>", rows) or SafeString("None yet.")

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> HttpResponse:
        response = super().change_view(request, object_id, *args, **kwargs)
        tenant = self.get_object(request, object_id)
        if tenant is not None:
            record_operator_access(request, [tenant.pk])
        return response

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path(
                "<uuid:tenant_id>/api-key/<uuid:key_id>/revoke/",
                wrap(self.revoke_view),
                name="tenants_tenant_revoke",
            ),
            path("<uuid:tenant_id>/first-admin/", wrap(self.first_admin_view), name="tenants_tenant_first_admin"),
            *super().get_urls(),
        ]

    def first_admin_view(self, request: HttpRequest, tenant_id: UUID) -> HttpResponseBase:
        """Invite the administrator of a hospital that has none."""
        tenant = get_object_or_404(Tenant, pk=tenant_id)
        form = AdminForm(request.POST if request.method == "POST" else None)
        if request.method == "POST" and form.is_valid():
            try:
                return self._invited(request, tenant, form.cleaned_data["email"])
            except ChecxrayError as error:
                form.add_error(None, error.detail)
        return self.page(
            request,
            title=f"Administrator of {tenant}",
            explanation=(
                "Invite the first administrator, who then invites all other members and makes the API keys, in the "
                "portal under Hospital settings. A hospital that has an administrator does not need this."
            ),
            back_to=_page_of(tenant),
            form=form,
            submit="Make the invitation",
        )

    def _invited(self, request: HttpRequest, tenant: Tenant, email: str) -> HttpResponseBase:
        # One transaction: a link that the mail server did not take was never made.
        with tenant_tx(tenant.pk):
            invited = invite_first_admin(tenant=tenant, email=email, operator=_operator(request), by=actor_of(request))
            address = request.build_absolute_uri(reverse("portal:invitation", args=[invited.token]))
            is_shown = send_link(Link(invited=invited, tenant=tenant, address=address))
        self.log_change(request, tenant, f"Invited {email} as the first administrator.")
        title = f"Invitation to {tenant}"
        if is_shown:
            explanation = f"Give the link only to {email}. It works once, for seven days."
            return self.page(request, title=title, explanation=explanation, back_to=_page_of(tenant), secret=address)
        messages.success(request, f"The link was sent to {email}.")
        return HttpResponseRedirect(_page_of(tenant))

    def revoke_view(self, request: HttpRequest, tenant_id: UUID, key_id: UUID) -> HttpResponseBase:
        tenant = get_object_or_404(Tenant, pk=tenant_id)
        if request.method == "POST":
            try:
                with tenant_tx(tenant.pk):
                    key = revoke_key_as_operator(key_id=key_id, operator=_operator(request), by=actor_of(request))
            except NotFoundError as error:
                raise Http404(error.detail) from error
            self.log_change(request, tenant, f"Revoked the API key {key.name}.")
            messages.success(request, f"The key {key} is refused from now on.")
            return HttpResponseRedirect(_page_of(tenant))
        return self.page(
            request,
            title=f"Revoke an API key of {tenant}",
            explanation="Every system that uses the key is refused from then on. This cannot be undone.",
            back_to=_page_of(tenant),
            form=forms.Form(),
            submit="Revoke the key",
        )


def _state(key: ApiClient) -> str:
    if key.revoked is not None:
        return f"revoked {key.revoked:%Y-%m-%d}"
    state = f"until {key.expires:%Y-%m-%d}" if key.expires else "in force"
    address = reverse("admin:tenants_tenant_revoke", args=[key.tenant_id, key.pk])
    return format_html('{}, <a href="{}">revoke</a>', state, address)


def _page_of(tenant: Tenant) -> str:
    return reverse("admin:tenants_tenant_change", args=[tenant.pk])


def _operator(request: HttpRequest) -> User:
    assert isinstance(request.user, User)
    return request.user

"""Tenants: who they are, their machines' keys, their people."""

from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.contrib.auth import get_user_model
from django.http import Http404, HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from apps.core.errors import NotFoundError
from apps.tenants.console import OperatorAdmin
from apps.tenants.middleware import opens_own_transaction
from apps.tenants.models import ApiClient, Membership, Role, Scope, Tenant
from apps.tenants.revocation import revoke_api_key
from apps.tenants.scope import tenant_tx
from apps.tenants.services import add_member, create_api_key


class ApiKeyForm(forms.Form):
    name = forms.CharField(max_length=100, help_text="The system that will use it, such as its AE title.")
    scopes = forms.MultipleChoiceField(
        choices=Scope.choices, initial=list(Scope.values), widget=forms.CheckboxSelectMultiple
    )


class MemberForm(forms.Form):
    email = forms.EmailField(help_text="Of somebody who has an account already: add it under Users first.")
    role = forms.ChoiceField(choices=Role.choices)

    def clean_email(self) -> Any:
        user = get_user_model()._default_manager.filter(email__iexact=self.cleaned_data["email"]).first()
        if user is None:
            raise forms.ValidationError("Nobody has this e-mail address. Add the account under Users first.")
        return user


@admin.register(Tenant)
class TenantAdmin(OperatorAdmin):
    is_writable = True
    list_display = ("name", "slug", "ae_title", "is_active", "created")
    fields = ("name", "slug", "ae_title", "is_active", "created", "members", "keys")
    readonly_fields = ("created", "members", "keys")
    ordering = ("name",)

    def get_readonly_fields(self, request: HttpRequest, obj: Tenant | None = None) -> Any:
        # A slug is in file names and in what people wrote down.
        return (*self.readonly_fields, "slug") if obj else self.readonly_fields

    def get_fields(self, request: HttpRequest, obj: Tenant | None = None) -> Any:
        return self.fields if obj else ("name", "slug", "ae_title", "is_active")

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

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        urls = [
            path("<uuid:tenant_id>/api-key/", wrap(self.api_key_view), name="tenants_tenant_api_key"),
            path(
                "<uuid:tenant_id>/api-key/<uuid:key_id>/revoke/",
                wrap(self.revoke_view),
                name="tenants_tenant_revoke",
            ),
            path("<uuid:tenant_id>/member/", wrap(self.member_view), name="tenants_tenant_member"),
            *super().get_urls(),
        ]
        for url in urls:
            # These pages enter the tenant that they show, whichever one the operator may be signed in to as well.
            opens_own_transaction(url.callback)
        return urls

    def api_key_view(self, request: HttpRequest, tenant_id: UUID) -> HttpResponseBase:
        tenant = get_object_or_404(Tenant, pk=tenant_id)
        form = ApiKeyForm(request.POST if request.method == "POST" else None)
        title, back_to = f"New API key for {tenant}", _page_of(tenant)
        if request.method == "POST" and form.is_valid():
            with tenant_tx(tenant.pk):
                key = create_api_key(name=form.cleaned_data["name"], scopes=form.cleaned_data["scopes"])
            self.log_change(request, tenant, f"Created the API key {form.cleaned_data['name']}.")
            return self.page(request, title=title, back_to=back_to, secret=key)
        return self.page(request, title=title, back_to=back_to, form=form, submit="Create the key")

    def revoke_view(self, request: HttpRequest, tenant_id: UUID, key_id: UUID) -> HttpResponseBase:
        tenant = get_object_or_404(Tenant, pk=tenant_id)
        if request.method == "POST":
            try:
                with tenant_tx(tenant.pk):
                    key = revoke_api_key(key_id=key_id)
            except NotFoundError as error:
                raise Http404(error.detail) from error
            self.log_change(request, tenant, f"Revoked the API key {key.name}.")
            messages.success(request, f"The key {key} is refused from now on.")
            return HttpResponseRedirect(_page_of(tenant))
        return self.page(
            request,
            title=f"Revoke an API key of {tenant}",
            explanation="Whatever system uses the key is refused from then on. This cannot be undone.",
            back_to=_page_of(tenant),
            form=forms.Form(),
            submit="Revoke the key",
        )

    def member_view(self, request: HttpRequest, tenant_id: UUID) -> HttpResponseBase:
        tenant = get_object_or_404(Tenant, pk=tenant_id)
        form = MemberForm(request.POST if request.method == "POST" else None)
        if request.method == "POST" and form.is_valid():
            user, role = form.cleaned_data["email"], form.cleaned_data["role"]
            add_member(tenant=tenant, user_id=user.pk, role=role)
            self.log_change(request, tenant, f"Made {user.email} a member as {role}.")
            messages.success(request, f"{user} is a member of {tenant} as {Role(role).label.lower()}.")
            return HttpResponseRedirect(_page_of(tenant))
        return self.page(
            request, title=f"Member of {tenant}", back_to=_page_of(tenant), form=form, submit="Save the membership"
        )


def _state(key: ApiClient) -> str:
    if key.revoked is not None:
        return f"revoked {key.revoked:%Y-%m-%d}"
    state = f"until {key.expires:%Y-%m-%d}" if key.expires else "in force"
    address = reverse("admin:tenants_tenant_revoke", args=[key.tenant_id, key.pk])
    return format_html('{}, <a href="{}">revoke</a>', state, address)


def _page_of(tenant: Tenant) -> str:
    return reverse("admin:tenants_tenant_change", args=[tenant.pk])

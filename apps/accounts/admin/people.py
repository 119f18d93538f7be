"""The console's pages for user accounts. Users choose their passwords; a hospital's administrators assign the roles."""

from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.models import Group
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from apps.accounts.models import User
from apps.accounts.operator_links import operator_link
from apps.accounts.selectors import memberships_of_user, valid_keys_of_user
from apps.accounts.services import disable_account, enable_account, invite_operator
from apps.audit.operator_access import record_operator_access
from apps.audit.services import actor_of
from apps.core.errors import ChecxrayError
from apps.tenants.operator_admin import OperatorAdmin

admin.site.unregister(Group)


class OperatorForm(forms.Form):
    email = forms.EmailField(max_length=254)
    full_name = forms.CharField(max_length=200)


@admin.register(User)
class UserAdmin(OperatorAdmin):
    list_display = ("email", "full_name", "is_active", "is_staff", "last_login")
    list_filter = ("is_active", "is_staff")
    search_fields = ("email", "full_name")
    ordering = ("email",)
    fields = ("email", "full_name", "is_active", "is_staff", "last_login", "date_joined", "hospitals", "keys")
    readonly_fields = fields

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> HttpResponse:
        response = super().change_view(request, object_id, *args, **kwargs)
        person = self.get_object(request, object_id)
        if person is not None:
            tenants = [each.tenant_id for each in (*memberships_of_user(person.pk), *valid_keys_of_user(person.pk))]
            record_operator_access(request, tenants, object_id=person.pk)
        return response

    @admin.display(description="Hospitals")
    def hospitals(self, person: User) -> SafeString:
        rows = [(each.tenant, each.get_role_display()) for each in memberships_of_user(person.pk)]
        return format_html_join("", "{}: {}<br>", rows) or SafeString("None.")

    @admin.display(description="API keys that they made")
    def keys(self, person: User) -> SafeString:
        """The keys in force: they stay valid after the account is disabled, until they are revoked."""
        rows = [
            (each.tenant, each.name, reverse("admin:tenants_tenant_revoke", args=[each.tenant_id, each.pk]))
            for each in valid_keys_of_user(person.pk)
        ]
        return format_html_join("", '{}: {}, <a href="{}">revoke</a><br>', rows) or SafeString("None in force.")

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("invite/", wrap(self.invite_view), name="accounts_user_invite"),
            path("<uuid:user_id>/link/", wrap(self.link_view), name="accounts_user_link"),
            path("<uuid:user_id>/access/", wrap(self.access_view), name="accounts_user_access"),
            *super().get_urls(),
        ]

    def invite_view(self, request: HttpRequest) -> HttpResponseBase:
        """Invite another operator. A hospital's administrator invites its members, in the portal."""
        form = OperatorForm(request.POST if request.method == "POST" else None)
        if request.method == "POST" and form.is_valid():
            try:
                person = invite_operator(**form.cleaned_data, operator=_operator(request))
            except ChecxrayError as error:
                form.add_error(None, error.detail)
            else:
                self.log_addition(request, person, f"Invited {person.email} as an operator.")
                return self._show_link(request, person)
        return self.page(
            request,
            title="Invite an operator",
            explanation=(
                "Operators look after the platform and see no patient. The first administrator of a hospital is "
                "invited on the hospital's page; that administrator invites all other members, in the portal."
            ),
            back_to=reverse("admin:accounts_user_changelist"),
            form=form,
            submit="Make the invitation",
        )

    def link_view(self, request: HttpRequest, user_id: UUID) -> HttpResponseBase:
        """Show a new link to an operator who has not chosen a password yet."""
        person = get_object_or_404(User, pk=user_id, is_staff=True, is_active=True)
        if person.has_usable_password():
            messages.error(
                request, "This operator has a password. If it is lost, set a new one with manage.py changepassword."
            )
            return HttpResponseRedirect(_page_of(person))
        if request.method == "POST":
            self.log_change(request, person, "Made another link for the first password.")
            return self._show_link(request, person)
        return self.page(
            request,
            title=f"Link for {person}",
            explanation="With this link the operator chooses a password. It works once, for three days.",
            back_to=_page_of(person),
            form=forms.Form(),
            submit="Make the link",
        )

    def _show_link(self, request: HttpRequest, person: User) -> HttpResponseBase:
        return self.page(
            request,
            title=f"Link for {person}",
            explanation=f"Give it only to {person.email}: the person who opens it becomes this operator.",
            back_to=_page_of(person),
            secret=request.build_absolute_uri(operator_link(person)),
        )

    def access_view(self, request: HttpRequest, user_id: UUID) -> HttpResponseBase:
        """Disable an account, or enable it again."""
        person = get_object_or_404(User, pk=user_id)
        if request.method == "POST":
            switch, done = (disable_account, "Disabled") if person.is_active else (enable_account, "Enabled")
            try:
                switch(person=person, operator=_operator(request), by=actor_of(request))
            except ChecxrayError as error:
                messages.error(request, error.detail)
            else:
                self.log_change(request, person, f"{done} the account.")
                messages.success(request, f"{done} the account of {person}.")
            return HttpResponseRedirect(_page_of(person))
        ends = "All their sessions end now and stay ended. API keys that they made stay valid until they are revoked."
        return self.page(
            request,
            title=f"Disable {person}" if person.is_active else f"Enable {person} again",
            explanation=ends if person.is_active else "They may sign in again; earlier sessions stay ended.",
            back_to=_page_of(person),
            form=forms.Form(),
            submit="Disable the account" if person.is_active else "Enable the account",
        )


def _operator(request: HttpRequest) -> User:
    assert isinstance(request.user, User)
    return request.user


def _page_of(person: User) -> str:
    return reverse("admin:accounts_user_change", args=[person.pk])

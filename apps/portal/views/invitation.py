"""The pages of invitation and password links; they need no sign-in."""

from django import forms
from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.password_validation import password_validators_help_texts
from django.contrib.auth.views import PasswordResetConfirmView
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse_lazy
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from apps.accounts.models import Invitation, User
from apps.accounts.operator_links import first_password_tokens
from apps.accounts.services import accept, open_invitation, set_password_by_link
from apps.accounts.services.invitations import account_of
from apps.core.client_address import client_address
from apps.core.errors import InvalidInputError
from apps.portal.views.sign_in import enter_hospital
from apps.tenants.middleware import opens_own_transaction

LONGEST_PASSWORD = 256


class PasswordForm(forms.Form):
    password = forms.CharField(
        label=gettext_lazy("Password"),
        max_length=LONGEST_PASSWORD,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )
    again = forms.CharField(
        label=gettext_lazy("The same again"),
        max_length=LONGEST_PASSWORD,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )

    def clean_again(self) -> str:
        if self.cleaned_data["again"] != self.cleaned_data.get("password"):
            raise forms.ValidationError(_("The two passwords differ."))
        return self.cleaned_data["again"]


class AccountForm(PasswordForm):
    full_name = forms.CharField(
        label=gettext_lazy("Your name"),
        max_length=200,
        help_text=gettext_lazy("As it appears in reports that you sign."),
    )
    field_order = ("full_name", "password", "again")


@opens_own_transaction
@never_cache
@require_http_methods(["GET", "POST"])
def invitation(request: HttpRequest, token: str) -> HttpResponse:
    """Join the hospital, with a new account or as the signed-in user; or choose a new password."""
    found = open_invitation(token)
    user = request.user if request.user.is_authenticated else None
    account = None if found.for_user_id else account_of(found)
    form = _form(request, found, account)
    if request.method == "POST" and (form is None or form.is_valid()):
        try:
            person = _use(request, found, token, user, form)
        except InvalidInputError as error:
            assert form is not None
            form.add_error("password", error.detail)
        else:
            return _welcome(request, found, person, user)
    context = {
        "invitation": found,
        "form": form,
        "account": account,
        "is_theirs": account is not None and account == user,
        "rules": password_validators_help_texts(),
    }
    return render(request, "portal/invitation.html", context)


def _form(request: HttpRequest, found: Invitation, account: User | None) -> PasswordForm | None:
    data = request.POST if request.method == "POST" else None
    if found.for_user_id:
        return PasswordForm(data)
    return AccountForm(data) if account is None else None


def _use(request: HttpRequest, found: Invitation, token: str, user: User | None, form: PasswordForm | None) -> User:
    given = form.cleaned_data if form is not None else {}
    address = client_address(request)
    if found.for_user_id:
        return set_password_by_link(token=token, password=given["password"], address=address)
    return accept(
        token=token,
        user=user,
        full_name=given.get("full_name", ""),
        password=given.get("password", ""),
        address=address,
    )


def _welcome(request: HttpRequest, found: Invitation, person: User, user: User | None) -> HttpResponse:
    if found.for_user_id:
        request.session.flush()
        messages.success(request, _("Your password is changed. Sign in with it."))
        return redirect("portal:sign-in")
    if user != person:
        request.session.flush()
        login(request, person)
    enter_hospital(request, found.tenant)
    return redirect("portal:worklist")


class OperatorInvitation(PasswordResetConfirmView):
    """An invited operator chooses a first password; Django's view removes the token from the address."""

    template_name = "portal/operator_invitation.html"
    token_generator = first_password_tokens
    success_url = reverse_lazy("admin:index")


operator_invitation = opens_own_transaction(require_http_methods(["GET", "HEAD", "POST"])(OperatorInvitation.as_view()))

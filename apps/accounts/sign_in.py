"""The sign-in forms of the portal and the operator console.

They show the error when the rate limit refuses a sign-in.
"""

from typing import Any

from django import forms
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth.forms import AuthenticationForm
from django.http import HttpRequest, HttpResponse

from apps.core.errors import ChecxrayError
from apps.core.problems import headers_of, status_of

# As in Django's forms for new passwords: a longer text only costs time in the hasher.
_LONGEST_PASSWORD = 4096


class _RateLimitedForm(AuthenticationForm):
    """Shows a refusal by the rate limits as the form's error, and keeps it for ``set_refusal_status``."""

    password = forms.CharField(max_length=_LONGEST_PASSWORD, strip=False, widget=forms.PasswordInput)
    refusal: ChecxrayError | None = None

    def clean(self) -> dict[str, Any]:
        try:
            return super().clean()
        except ChecxrayError as error:
            self.refusal = error
            if self.request is not None:
                self.request.sign_in_refusal = error  # type: ignore[attr-defined]
            raise forms.ValidationError(error.detail, code=error.code) from error


class SignInForm(_RateLimitedForm):
    """The portal's sign-in form."""


class ConsoleSignInForm(_RateLimitedForm, AdminAuthenticationForm):
    """The console's sign-in form, for operators only."""


def set_refusal_status(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """Set the status and ``Retry-After`` of a page that shows a refused sign-in."""
    refusal: ChecxrayError | None = getattr(request, "sign_in_refusal", None)
    if refusal is not None:
        response.status_code = status_of(refusal)
        for name, value in headers_of(refusal).items():
            response[name] = value
    return response

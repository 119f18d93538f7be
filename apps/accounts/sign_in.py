"""The sign-in forms of the portal and of the console, and their answer where the limits refuse."""

from typing import Any

from django import forms
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth.forms import AuthenticationForm
from django.http import HttpRequest, HttpResponse

from apps.core.errors import ChecxrayError
from apps.core.problems import headers_of, status_of

# As Django's forms for new passwords; a longer text is only work for the hasher.
_LONGEST_PASSWORD = 4096


class _Refusable(AuthenticationForm):
    """Shows a refusal of the limits as the form's error, and leaves it for the answer's status."""

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


class SignInForm(_Refusable):
    """The portal's."""


class ConsoleSignInForm(_Refusable, AdminAuthenticationForm):
    """The console's: operators only."""


def answer_refusal(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """Give the page of a refused sign-in the status and the ``Retry-After`` of the refusal."""
    refusal: ChecxrayError | None = getattr(request, "sign_in_refusal", None)
    if refusal is not None:
        response.status_code = status_of(refusal)
        for name, value in headers_of(refusal).items():
            response[name] = value
    return response

"""The operator's console: Django's admin site with our rate limits at its sign-in."""

from typing import Any

from django.contrib.admin import AdminSite
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from apps.accounts.sign_in import ConsoleSignInForm, set_refusal_status
from apps.core.errors import UnavailableError
from apps.core.problems import headers_of, status_of


class OperatorSite(AdminSite):
    login_form = ConsoleSignInForm

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return set_refusal_status(request, super().login(request, extra_context))

    def password_change(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        try:
            return super().password_change(request, extra_context)
        except UnavailableError as error:
            status = status_of(error)
            context = {"status": int(status), "title": status.phrase, "detail": error.detail}
            return TemplateResponse(request, "portal/refused.html", context, status=status, headers=headers_of(error))

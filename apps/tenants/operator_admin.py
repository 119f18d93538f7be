"""Base class and helpers for the pages of the operator's console, in which operators see everything and change little.

The console shows the platform: tenants, users, versions, jobs, machines. It registers no table of images, patients or
findings, and its database role cannot read one.
"""

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.db.models import Model
from django.forms import Form
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.safestring import SafeString

from apps.core.documents import pdf_response
from apps.core.errors import ChecxrayError, UnavailableError


def _is_operator(request: HttpRequest) -> bool:
    return request.user.is_active and request.user.is_staff


class ScopeFilter(admin.RelatedFieldListFilter):
    """Rows of one tenant, or of the platform, which is not a tenant."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.title = "tenant"
        self.empty_value_display = SafeString("The platform")


class OperatorAdmin(admin.ModelAdmin):
    """Read-only unless ``is_writable``. Rows are never deleted here: the audit trail and ledgers refer to them."""

    is_writable = False
    actions: Any = None
    show_full_result_count = False

    def has_module_permission(self, request: HttpRequest) -> bool:
        return _is_operator(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return _is_operator(request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self.is_writable and _is_operator(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.is_writable and _is_operator(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def page(
        self,
        request: HttpRequest,
        *,
        title: str,
        back_to: str,
        form: Form | None = None,
        submit: str = "",
        explanation: str = "",
        secret: str = "",
    ) -> TemplateResponse:
        """A page of one form, or of its result."""
        context = self.admin_site.each_context(request) | {
            "title": title,
            "opts": self.opts,
            "form": form,
            "submit": submit,
            "explanation": explanation,
            "secret": secret,
            "back_to": back_to,
        }
        return TemplateResponse(request, "operator/form.html", context)


def reference(instance: Model | None) -> str:
    return "–" if instance is None else str(instance)


def run_service(form: Form, service: Callable[..., Any], **arguments: Any) -> Any:
    """Call a service for a form and return its result; None where it refused, and the form then shows the reason."""
    try:
        return service(**arguments)
    except ChecxrayError as error:
        form.add_error(None, error.detail)
    return None


def download_pdf(request: HttpRequest, render: Callable[[], bytes], *, filename: str, back_to: str) -> HttpResponse:
    """A PDF to download; where this machine can make none, the page `back_to` with the reason."""
    try:
        return pdf_response(render(), filename)
    except UnavailableError as error:
        messages.error(request, error.detail)
        return HttpResponseRedirect(back_to)

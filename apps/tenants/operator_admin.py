"""Base class and helpers for the pages of the operator's console, in which operators see everything and change little.

The console shows the platform: tenants, users, versions, jobs, machines. It registers no table of images, patients or
findings, and its database role cannot read one.
"""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar
from uuid import UUID

from django.contrib import admin, messages
from django.db.models import Model
from django.forms import Form
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from apps.core.documents import pdf_response
from apps.core.errors import ChecxrayError, UnavailableError
from apps.core.html_tables import outline


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
    json_files: ClassVar[Mapping[str, Callable[[Any], Any]]] = {}
    """By name, what a row's page offers to download as JSON."""
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

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.json_view)
        files = [
            path(f"<uuid:object_id>/{name}.json", view, {"name": name}, name=self._json_page(name))
            for name in self.json_files
        ]
        return [*files, *super().get_urls()]

    def _json_page(self, name: str) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}_{name}_json"

    def json_view(self, request: HttpRequest, object_id: UUID, name: str) -> HttpResponse:
        instance = get_object_or_404(self.get_queryset(request), pk=object_id)
        response = JsonResponse(self.json_files[name](instance), json_dumps_params={"indent": 2}, safe=False)
        response["Content-Disposition"] = f'attachment; filename="{name}-{object_id}.json"'
        return response

    def shown_json(self, instance: Model, name: str) -> SafeString:
        """What a JSON file holds as tables, with a link to the file."""
        address = reverse(f"admin:{self._json_page(name)}", args=[instance.pk])
        return format_html(
            '{}<p><a href="{}" download>Download as JSON</a></p>', outline(self.json_files[name](instance)), address
        )

    def page(
        self,
        request: HttpRequest,
        *,
        title: str,
        back_to: str,
        form: Form | None = None,
        submit: str = "",
        explanation: str = "",
        effect: SafeString | str = "",
        secret: str = "",
    ) -> TemplateResponse:
        """A page of one form, or of its result.

        Args:
            effect: what the form would do, shown above its button.
        """
        context = self.admin_site.each_context(request) | {
            "title": title,
            "opts": self.opts,
            "form": form,
            "submit": submit,
            "explanation": explanation,
            "effect": effect,
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
        # A detail of several lines lists several faults.
        form.add_error(None, list(filter(None, error.detail.splitlines())) or error.detail)
    return None


def download_pdf(request: HttpRequest, render: Callable[[], bytes], *, filename: str, back_to: str) -> HttpResponse:
    """A PDF to download; where this machine can make none, the page `back_to` with the reason."""
    try:
        return pdf_response(render(), filename)
    except UnavailableError as error:
        messages.error(request, error.detail)
        return HttpResponseRedirect(back_to)

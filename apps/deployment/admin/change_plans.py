"""Console pages of the change plan: every version of it, and the form that writes the next one."""

from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from apps.audit.services import actor_of
from apps.deployment.change_plan import PARTS, current_plan, render_plan_pdf
from apps.deployment.models import ChangePlan
from apps.deployment.services.change_plans import write_change_plan
from apps.tenants.operator_admin import OperatorAdmin, download_pdf


class ChangePlanForm(forms.ModelForm):
    class Meta:
        model = ChangePlan
        fields = (*PARTS, "reason")

    def clean(self) -> dict[str, Any]:
        given = super().clean() or self.cleaned_data
        former = current_plan()
        if not self.errors and all(getattr(former, name) == given[name].strip() for name in PARTS):
            raise forms.ValidationError(f"Nothing differs from {former}.")
        return given


@admin.register(ChangePlan)
class ChangePlanAdmin(OperatorAdmin):
    """A version is never changed: *Add* begins with the text in force and makes the next one."""

    is_writable = True
    list_display = ("__str__", "at", "actor", "reason", "pdf")
    form = ChangePlanForm
    readonly_fields = ("pdf",)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return (*PARTS, "reason") if obj is None else ("number", "at", "actor", *PARTS, "reason", "pdf")

    @admin.display(description="Document")
    def pdf(self, plan: ChangePlan) -> SafeString:
        return format_html('<a href="{}">PDF</a>', reverse("admin:deployment_changeplan_pdf", args=[plan.pk]))

    def get_urls(self) -> list[URLPattern]:
        pdf = self.admin_site.admin_view(self.pdf_view)
        return [path("<uuid:plan_id>/plan.pdf", pdf, name="deployment_changeplan_pdf"), *super().get_urls()]

    def pdf_view(self, request: HttpRequest, plan_id: UUID) -> HttpResponse:
        plan = get_object_or_404(ChangePlan, pk=plan_id)
        return download_pdf(
            request,
            lambda: render_plan_pdf(plan),
            filename=f"change-plan-{plan.number}.pdf",
            back_to=reverse("admin:deployment_changeplan_changelist"),
        )

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        current_plan()
        return super().changelist_view(request, extra_context)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        former = current_plan()
        return {name: getattr(former, name) for name in PARTS}

    def save_model(self, request: HttpRequest, obj: ChangePlan, form: Any, change: bool) -> None:
        parts = {name: form.cleaned_data[name] for name in PARTS}
        made = write_change_plan(parts=parts, reason=form.cleaned_data["reason"], by=actor_of(request))
        obj.pk, obj.number = made.pk, made.number

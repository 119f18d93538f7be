"""Console page of an evaluation, with the same content as a PDF."""

from typing import Any, ClassVar
from uuid import UUID

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse

from apps.core.html_tables import figure
from apps.evaluation.execution import evaluation_json, render_evaluation_pdf
from apps.evaluation.models import Evaluation
from apps.evaluation.sections import evaluation_sections
from apps.tenants.operator_admin import OperatorAdmin, download_pdf


@admin.register(Evaluation)
class EvaluationAdmin(OperatorAdmin):
    list_display = ("at", "model_version", "split_id", "n", "patients", "mean")
    list_select_related = ("model_version",)
    fields = ("model_version", "split_id", "split_sha256", "n", "patients", "mean", "actor", "at")
    readonly_fields = fields
    json_files: ClassVar = {"evaluation": evaluation_json}

    @admin.display(description="Mean AUROC (95 % CI)")
    def mean(self, evaluation: Evaluation) -> str:
        return figure(evaluation.report, "mean_auroc")

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.pdf_view)
        return [path("<uuid:evaluation_id>/pdf/", view, name="evaluation_evaluation_pdf"), *super().get_urls()]

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        context["sections"] = evaluation_sections(context["original"])
        return super().render_change_form(request, context, *args, **kwargs)

    def pdf_view(self, request: HttpRequest, evaluation_id: UUID) -> HttpResponse:
        evaluation = get_object_or_404(Evaluation.objects.select_related("model_version"), pk=evaluation_id)
        return download_pdf(
            request,
            lambda: render_evaluation_pdf(evaluation=evaluation),
            filename=f"evaluation-{evaluation.pk}.pdf",
            back_to=reverse("admin:evaluation_evaluation_change", args=[evaluation.pk]),
        )

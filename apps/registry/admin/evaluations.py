"""What was measured of a version: the page, and the same as a PDF."""

from typing import Any

from django.contrib import admin

from apps.registry.models import Evaluation
from apps.tenants.console import OperatorAdmin


@admin.register(Evaluation)
class EvaluationAdmin(OperatorAdmin):
    list_display = ("at", "model_version", "split_id", "n", "patients", "mean")
    list_select_related = ("model_version",)
    fields = ("model_version", "split_id", "split_sha256", "n", "patients", "mean", "actor", "at")
    readonly_fields = fields

    @admin.display(description="Mean AUROC (95 % CI)")
    def mean(self, evaluation: Any) -> str:
        if evaluation.mean_auroc is None:
            return "–"
        interval = evaluation.report.get("ci95")
        told = f" ({interval[0]:.3f}–{interval[1]:.3f})" if interval else ""
        return f"{evaluation.mean_auroc:.3f}{told}"

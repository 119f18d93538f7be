"""Console pages of recalibrations: read-only; the hospitals, or `manage.py recalibrate`, change them."""

from django.contrib import admin

from apps.audit.operator_access import ShowsTenants
from apps.core.html_tables import table
from apps.deployment.models import AppliedRecalibration, Recalibration


@admin.register(Recalibration)
class RecalibrationAdmin(ShowsTenants):
    list_display = ("for_tenant", "model_version", "number", "method", "is_in_force", "actor", "at")
    list_filter = ("for_tenant", "method")
    list_select_related = ("for_tenant", "model_version")
    fields = ("for_tenant", "model_version", "number", "method", "replaces", "table", "sha256", "actor", "at")
    readonly_fields = fields

    @admin.display(description="In force", boolean=True)
    def is_in_force(self, row: Recalibration) -> bool:
        return AppliedRecalibration.objects.filter(recalibration=row).exists()

    @admin.display(description="On the version's logits")
    def table(self, row: Recalibration) -> str:
        cells = [
            (label, f"{fit['a']:.3f}", f"{fit['b']:+.3f}", str(row.evidence.get(label, "")))
            for label, fit in row.fits.items()
        ]
        return table(("Finding", "Slope", "Offset", "Rests on"), cells) if cells else "The version's own probabilities"

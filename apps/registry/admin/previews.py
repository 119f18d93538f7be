"""What a switch would change: counts on a tenant's recent studies."""

from django.contrib import admin
from django.utils.safestring import SafeString

from apps.registry.admin.figures import table
from apps.registry.models import SwitchPreview
from apps.tenants.console import OperatorAdmin

_HEADS = (
    "Finding",
    "Threshold",
    "Flagged",
    "Newly flagged",
    "No longer flagged",
    "At the old threshold",
    "How",
)


def threshold(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"


def flips(preview: SwitchPreview) -> SafeString:
    return table(
        _HEADS,
        [
            (
                label,
                f"{threshold(entry['threshold_before'])} → {threshold(entry['threshold_after'])}",
                f"{entry['flagged_before']} → {entry['flagged_after']}",
                entry["turned_on"],
                entry["turned_off"],
                entry["flagged_at_former_threshold"],
                entry["note"],
            )
            for label, entry in preview.report["labels"].items()
        ],
    )


@admin.register(SwitchPreview)
class SwitchPreviewAdmin(OperatorAdmin):
    list_display = ("at", "for_tenant", "from_version", "to_version", "studies", "actor")
    list_filter = ("for_tenant",)
    list_select_related = ("for_tenant", "from_version", "to_version")
    fields = ("at", "for_tenant", "from_version", "to_version", "studies", "refused", "actor", "sha256", "changes")
    readonly_fields = fields

    @admin.display(description="Films refused by the new version")
    def refused(self, preview: SwitchPreview) -> int:
        return int(preview.report["refused"])

    @admin.display(description="What would change")
    def changes(self, preview: SwitchPreview) -> SafeString:
        return flips(preview)

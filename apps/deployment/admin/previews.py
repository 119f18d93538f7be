"""Previews of a switch in the console: the form that requests one, its progress, and the counts that it found."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from apps.audit.operator_access import ShowsTenants
from apps.core.html_tables import table
from apps.core.work_queue import OPEN_STATES
from apps.deployment.models import PreviewJob, SwitchPreview
from apps.deployment.selectors import deployments
from apps.deployment.services import is_current_preview
from apps.registry.models import ModelVersion
from apps.tenants.models import Tenant
from apps.tenants.operator_admin import ScopeFilter

_LIVE = "admin/registry/modelversion/previews.html"

_HEADS = (
    "Finding",
    "Threshold",
    "Flagged",
    "Newly flagged",
    "No longer flagged",
    "At the old threshold",
    "Note",
)


def threshold(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"


def changes_table(preview: SwitchPreview) -> SafeString:
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


class PreviewForm(forms.Form):
    tenant = forms.ModelChoiceField(Tenant.objects.none(), label="For")
    last = forms.IntegerField(
        min_value=1,
        max_value=PreviewJob.MOST,
        initial=200,
        label="Last studies",
        help_text="So many of the studies that were read last are read once more. No clinician sees the results.",
    )

    def __init__(self, version: ModelVersion, data: Any = None) -> None:
        super().__init__(data, auto_id="preview_%s")
        self.fields["tenant"].queryset = _others(version)  # type: ignore[attr-defined]


def _others(version: ModelVersion) -> Any:
    """The tenants that another version serves."""
    serving = deployments()
    pinned = {tenant for tenant in serving if tenant is not None}
    others = {tenant for tenant in pinned if serving[tenant] != version.pk}
    if serving.get(None, version.pk) != version.pk:
        others |= set(Tenant.objects.exclude(pk__in=pinned).values_list("pk", flat=True))
    return Tenant.objects.filter(pk__in=others).order_by("name")


def preview_form(version: ModelVersion, data: Any = None) -> PreviewForm | None:
    """None where there is nothing to compare: the version is retired, or serves every tenant already."""
    return PreviewForm(version, data) if can_be_previewed(version) else None


def can_be_previewed(version: ModelVersion) -> bool:
    return version.retired is None and _others(version).exists()


def tenants_previewed(version: ModelVersion) -> set[UUID]:
    """The tenants that ``render_previews`` shows counts of."""
    return set(SwitchPreview.objects.filter(to_version=version).values_list("for_tenant_id", flat=True))


def render_previews(version: ModelVersion) -> str:
    """The part of the page that changes while a preview is made."""
    # Only the latest of each tenant: an operator should see it before the activation.
    previews = SwitchPreview.objects.filter(to_version=version).select_related("for_tenant", "from_version")
    latest = list(previews.order_by("for_tenant", "-id").distinct("for_tenant"))
    jobs = PreviewJob.objects.filter(model_version=version).select_related("for_tenant")
    latest_jobs = list(jobs.order_by("for_tenant", "-id").distinct("for_tenant"))
    shown = {each.for_tenant_id for each in latest} | {each.for_tenant_id for each in latest_jobs}
    missing = _others(version).exclude(pk__in=shown) if version.retired is None else ()
    return render_to_string(
        _LIVE,
        {
            "jobs": _without_preview(latest_jobs, latest),
            "is_open": any(job.state in OPEN_STATES for job in latest_jobs),
            "previews": [(each, _totals(each), changes_table(each), is_current_preview(each)) for each in latest],
            "missing": missing,
        },
    )


def _totals(preview: SwitchPreview) -> dict[str, int]:
    """Flags that appear and disappear, over all findings."""
    entries = preview.report["labels"].values()
    return {
        "on": sum(each["turned_on"] for each in entries),
        "off": sum(each["turned_off"] for each in entries),
        "refused": preview.report["refused"],
    }


def _without_preview(jobs: Iterable[PreviewJob], latest: Iterable[SwitchPreview]) -> list[PreviewJob]:
    """Jobs that are open or ended without a preview, unless a newer preview exists."""
    made = {each.for_tenant_id: each.at for each in latest}
    return [
        job
        for job in jobs
        if job.state in OPEN_STATES
        or (job.preview_id is None and made.get(job.for_tenant_id, job.created) <= job.created)
    ]


@admin.register(PreviewJob)
class PreviewJobAdmin(ShowsTenants):
    list_display = ("created", "model_version", "for_tenant", "last", "state", "attempts", "reason", "finished")
    list_filter = ("state", ("for_tenant", ScopeFilter))
    list_select_related = ("model_version", "for_tenant")
    fields = (
        "model_version", "for_tenant", "last", "actor", "state", "attempts", "done", "of", "reason", "worker",
        "preview", "created", "run_after", "lease_until", "finished",
    )  # fmt: skip
    readonly_fields = fields


@admin.register(SwitchPreview)
class SwitchPreviewAdmin(ShowsTenants):
    list_display = ("at", "for_tenant", "from_version", "to_version", "studies", "actor")
    list_filter = (("for_tenant", ScopeFilter),)
    list_select_related = ("for_tenant", "from_version", "to_version")
    fields = ("at", "for_tenant", "from_version", "to_version", "studies", "refused", "actor", "sha256", "changes")
    readonly_fields = fields

    @admin.display(description="Films refused by the new version")
    def refused(self, preview: SwitchPreview) -> int:
        return int(preview.report["refused"])

    @admin.display(description="What would change")
    def changes(self, preview: SwitchPreview) -> SafeString:
        return changes_table(preview)

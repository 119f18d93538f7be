"""The console's pages for inference jobs and workers. Jobs are read as the dispatcher's role, which sees no patient."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.urls import URLPattern, reverse

from apps.audit.operator_access import ShowsTenants
from apps.audit.services import actor_of
from apps.core.retry import FAILURES
from apps.inference.models import InferenceJob, Worker
from apps.inference.requeue import ended_jobs, requeue
from apps.registry.models import ModelVersion
from apps.tenants.middleware import opens_own_transaction
from apps.tenants.models import Tenant
from apps.tenants.operator_admin import OperatorAdmin

_SHOWN = (
    "state", "attempts", "created", "run_after", "waiting_since", "is_suspect", "lease_until", "worker", "finished",
    "reason_code", "reason",
)  # fmt: skip


class ReasonFilter(admin.SimpleListFilter):
    """Offers the known codes; a query for the codes in use would scan the whole table."""

    title = "reason"
    parameter_name = "reason"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(code, code) for code in FAILURES]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Any]") -> "QuerySet[Any]":
        return queryset.filter(reason_code=self.value()) if self.value() else queryset


class RequeueForm(forms.Form):
    """The confirmation of the list's action; it repeats the values that the list sent."""

    action = forms.CharField(widget=forms.HiddenInput)
    select_across = forms.CharField(widget=forms.HiddenInput, required=False)
    reason = forms.CharField(
        max_length=500, widget=forms.Textarea(attrs={"rows": 3}), help_text="Why; kept in the console's history."
    )

    def __init__(self, data: Any, chosen: list[str]) -> None:
        super().__init__(data if data is not None and "reason" in data else None, initial=data)
        self.fields[ACTION_CHECKBOX_NAME] = forms.MultipleChoiceField(
            choices=[(each, each) for each in chosen], initial=chosen, widget=forms.MultipleHiddenInput
        )


@admin.register(InferenceJob)
class JobAdmin(ShowsTenants):
    tenant_attribute = "tenant_id"
    list_display = ("created", "hospital", "state", "attempts", "version", "worker", "finished", "reason_code")
    list_filter = ("state", ReasonFilter)
    actions = ("read_again",)
    fields = ("id", "hospital", "version", *_SHOWN)
    readonly_fields = fields
    ordering = ("-id",)
    list_per_page = 50

    def get_queryset(self, request: HttpRequest) -> "QuerySet[InferenceJob]":
        # Only the columns that the role may read. It may not read tenants or versions, so `_name` adds their names.
        return (
            InferenceJob.objects.using("dispatch").only("id", "tenant_id", "model_version_id", *_SHOWN).order_by("-id")
        )

    def get_urls(self) -> list[URLPattern]:
        urls = super().get_urls()
        for url in urls:
            # The action enters each tenant in its own transaction, also where the operator has entered one.
            opens_own_transaction(url.callback)
        return urls

    @admin.action(description="Read again: queue the studies of failed or rejected jobs")
    def read_again(self, request: HttpRequest, queryset: "QuerySet[InferenceJob]") -> TemplateResponse | None:
        jobs = ended_jobs(ids=queryset)
        form = RequeueForm(request.POST, request.POST.getlist(ACTION_CHECKBOX_NAME))
        if form.is_valid():
            queued = requeue(jobs=jobs, by=actor_of(request), operation="console: read again")
            for row in (
                InferenceJob.objects.using("dispatch").only("id", "state").filter(pk__in=[job.id for job in queued])
            ):
                self.log_change(request, row, f"Queued its study again: {form.cleaned_data['reason']}")
            messages.success(request, f"{len(queued)} studies were queued.")
            return None
        left_out = queryset.count() - len(jobs)
        explanation = f"{len(jobs)} studies are read once more, with the version that serves their tenant now."
        if left_out:
            explanation += (
                f" {left_out} of the chosen jobs are left out: not failed or rejected, or not the latest one."
            )
        back_to = reverse("admin:inference_inferencejob_changelist")
        return self.page(
            request,
            title="Read studies again",
            explanation=explanation,
            back_to=back_to,
            form=form,
            submit="Queue them",
        )

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        changes = super().get_changelist_instance(request)
        _name(list(changes.result_list))
        return changes

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> InferenceJob | None:
        job: InferenceJob | None = super().get_object(request, object_id, from_field)
        _name([job] if job else [])
        return job

    @admin.display(description="Tenant")
    def hospital(self, job: InferenceJob) -> str:
        return job.hospital  # type: ignore[attr-defined]

    @admin.display(description="Model version")
    def version(self, job: InferenceJob) -> str:
        return job.version  # type: ignore[attr-defined]


def _name(jobs: list[Any]) -> None:
    tenants = Tenant.objects.in_bulk({job.tenant_id for job in jobs})
    versions = ModelVersion.objects.defer("manifest").in_bulk({job.model_version_id for job in jobs} - {None})
    for job in jobs:
        job.hospital = tenants[job.tenant_id].slug
        job.version = str(versions.get(job.model_version_id, "–"))


@admin.register(Worker)
class WorkerAdmin(OperatorAdmin):
    list_display = ("name", "device", "model_version", "held", "last_seen", "started", "error")
    fields = ("name", "device", "model_version", "held", "last_seen", "started", "error")
    readonly_fields = ("held",)

    @admin.display(description="Versions")
    def held(self, worker: Worker) -> str:
        """Each version that the worker holds or should hold."""
        return "; ".join(f"{each['version']} {each['state']}" for each in worker.versions) or "none"

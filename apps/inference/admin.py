"""The queue and the machines. Jobs are read as the dispatcher's role, which can see no patient and no finding."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from apps.inference.models import InferenceJob, Worker
from apps.registry.models import ModelVersion
from apps.tenants.console import OperatorAdmin
from apps.tenants.models import Tenant

_SHOWN = ("state", "attempt", "created", "run_after", "lease_until", "worker", "finished", "reason_code", "reason")


@admin.register(InferenceJob)
class JobAdmin(OperatorAdmin):
    list_display = ("created", "hospital", "state", "attempt", "version", "worker", "finished", "reason_code")
    list_filter = ("state",)
    fields = ("id", "hospital", "version", *_SHOWN)
    readonly_fields = fields
    ordering = ("-id",)
    list_per_page = 50

    def get_queryset(self, request: HttpRequest) -> "QuerySet[InferenceJob]":
        # Only what the role may read; that role sees neither tenants nor versions either, so they are put in below.
        return (
            InferenceJob.objects.using("dispatch").only("id", "tenant_id", "model_version_id", *_SHOWN).order_by("-id")
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

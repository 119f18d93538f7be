"""Events of readings, for the webhooks of their tenant."""

from collections.abc import Iterable
from datetime import timedelta
from itertools import groupby
from typing import Any
from uuid import UUID

from django.db.models.functions import Now

from apps.core.work_queue import JobState
from apps.events.models import TenantEvent
from apps.events.tenant_events import publish_to_tenant
from apps.inference.models import InferenceJob
from apps.registry.models import ModelVersion
from apps.tenants.scope import tenant_tx

_SWEPT_BACK = timedelta(hours=2)


def publish_results(jobs: Iterable[InferenceJob], version: ModelVersion | None = None) -> None:
    """Publish readings that ended with a result of a version, or with a refusal, in the transaction that ends them."""
    of_version = version.identity if version else {}
    data = {job.pk: {**_ids(job.pk, job.study_id), "state": str(job.state), **of_version} for job in jobs}
    publish_to_tenant(kind=TenantEvent.Type.RESULT_READY, data=data)


def publish_failure(*, job_id: UUID, study_id: UUID, code: str) -> None:
    """Publish a reading that failed at every attempt, after the transaction that ended it.

    That transaction is of the role that sees the queue alone. ``publish_missed_failures`` repeats what a process that
    ended in between has left out.
    """
    publish_to_tenant(kind=TenantEvent.Type.RESULT_FAILED, data={job_id: {**_ids(job_id, study_id), "code": code}})


def publish_missed_failures() -> None:
    """Publish failures of the last hours that have no event."""
    failed = InferenceJob.objects.using("dispatch").filter(state=JobState.FAILED, finished__gt=Now() - _SWEPT_BACK)
    rows = failed.order_by("tenant_id").values_list("tenant_id", "pk", "study_id", "reason_code")
    for tenant_id, own in groupby(rows, key=lambda row: row[0]):
        data = {pk: {**_ids(pk, study_id), "code": code} for _, pk, study_id, code in own}
        with tenant_tx(tenant_id):
            publish_to_tenant(kind=TenantEvent.Type.RESULT_FAILED, data=data)


def _ids(job_id: UUID, study_id: UUID) -> dict[str, Any]:
    return {"study": str(study_id), "job": str(job_id)}

"""Services for operators that queue studies again whose latest job failed or was rejected."""

import datetime
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from uuid import UUID

from django.db.models import Exists, OuterRef, QuerySet

from apps.audit.models import AuditEvent
from apps.audit.services import Actor, record
from apps.core.work_queue import JobState
from apps.inference.models import InferenceJob
from apps.inference.requests import request_inference
from apps.studies.models import Study
from apps.tenants.scope import tenant_tx

ENDED_WITHOUT_RESULT = (JobState.FAILED, JobState.REJECTED)
_IN_ONE_TRANSACTION = 200


@dataclass(frozen=True)
class EndedJob:
    """A job without a result that is the latest one of its study."""

    id: UUID
    tenant_id: UUID
    study_id: UUID
    priority: int
    reason_code: str


def ended_jobs(
    *,
    states: Sequence[str] = ENDED_WITHOUT_RESULT,
    tenant_id: UUID | None = None,
    reason_code: str | None = None,
    since: datetime.datetime | None = None,
    ids: "QuerySet[InferenceJob] | None" = None,
) -> list[EndedJob]:
    """The jobs of all tenants, or of one, that may be queued again, by tenant.

    Args:
        since: only jobs that ended then or later.
        ids: only jobs of this query, which must use the dispatcher's alias.
    """
    jobs = InferenceJob.objects.using("dispatch")
    later = jobs.filter(tenant_id=OuterRef("tenant_id"), study_id=OuterRef("study_id"), id__gt=OuterRef("id"))
    found = jobs.filter(~Exists(later), state__in=[state for state in states if state in ENDED_WITHOUT_RESULT])
    if tenant_id is not None:
        found = found.filter(tenant_id=tenant_id)
    if reason_code is not None:
        found = found.filter(reason_code=reason_code)
    if since is not None:
        found = found.filter(finished__gte=since)
    if ids is not None:
        found = found.filter(id__in=ids.order_by().values("id"))
    rows = found.order_by("tenant_id", "id").values_list("id", "tenant_id", "study_id", "priority", "reason_code")
    return [EndedJob(*row) for row in rows]


def requeue(*, jobs: Iterable[EndedJob], by: Actor, operation: str) -> list[EndedJob]:
    """Queue the studies of these jobs.

    A study that was queued, read, withdrawn or deleted since is left out, so a repetition changes nothing. Each
    tenant's audit trail records how many studies were queued.

    Args:
        operation: the name of the operation in the audit trail.

    Returns:
        The jobs whose study was queued.
    """
    queued: list[EndedJob] = []
    for tenant_id, own in groupby(jobs, key=lambda job: job.tenant_id):
        while some := list(islice(own, _IN_ONE_TRANSACTION)):
            with tenant_tx(tenant_id):
                again = [job for job in some if _is_latest(job)]
                for job in again:
                    request_inference(study_id=job.study_id, priority=job.priority)
                if again:
                    action = AuditEvent.Action.STUDIES_REQUEUED
                    record(action=action, by=by, amount=len(again), operation=operation)
            queued += again
    return queued


def _is_latest(job: EndedJob) -> bool:
    """Check with the study's row locked, so that two operators at the same time queue it once."""
    studies = Study.objects.select_for_update(no_key=True).filter(pk=job.study_id, withdrawn__isnull=True)
    if not studies.exists():
        return False
    latest = InferenceJob.objects.filter(study=job.study_id).order_by("-id").values_list("id", flat=True).first()
    return latest == job.id

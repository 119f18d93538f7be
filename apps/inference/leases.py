"""The queues of inference jobs and of shadow readings, and the claims that a worker holds."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, cast
from uuid import UUID

from django.conf import settings
from django.db import transaction

from apps.core.metrics import JOBS, SHADOWS
from apps.core.wake_up import WakeUp
from apps.core.watched_queues import DISPATCHED_COLUMNS
from apps.core.work_queue import JobState, Queue
from apps.inference.events import publish_failure
from apps.inference.models import InferenceJob, ShadowReading
from apps.inference.requests import request_inference
from apps.routing.rule_selectors import intake_policy
from apps.studies.models import Instance, Study
from apps.tenants.scope import tenant_tx

LEASE = datetime.timedelta(seconds=settings.INFERENCE_LEASE_SECONDS)


def _job_ended(job: InferenceJob) -> None:
    JOBS.labels(job.state).inc()
    if job.state == JobState.FAILED:
        transaction.on_commit(partial(_after_failure, job), using="dispatch", robust=True)


def _after_failure(failed: InferenceJob) -> None:
    """Publish the failure, and queue the study again where an image arrived after the failed job was created."""
    with tenant_tx(cast(UUID, failed.tenant_id)):
        publish_failure(job_id=failed.pk, study_id=failed.study_id, code=failed.reason_code)
        study = Study.objects.select_for_update(no_key=True).filter(pk=failed.study_id).first()
        if study is None:
            return
        if Instance.objects.filter(series__study=study, received__gt=failed.created, rows__isnull=False).exists():
            quiet = intake_policy().quiet_time
            request_inference(study_id=study.pk, priority=failed.priority, quiet=quiet)


_OF_A_READING: dict[str, Any] = {
    "wake_up": WakeUp.INFER,
    "using": "dispatch",
    "in_batches": True,
    "keeps_reason": False,
    "lease": LEASE,
    "lost": "AI result unavailable: The inference worker stopped three times while it read only this study.",
}
READINGS = Queue(
    InferenceJob,
    columns=(*DISPATCHED_COLUMNS, "study_id", "priority", "turn"),
    order=("-priority", "turn", "id"),
    without_result=_job_ended,
    **_OF_A_READING,
)
SHADOW_READINGS = Queue(
    ShadowReading,
    columns=(*DISPATCHED_COLUMNS, "job_id", "challenger_id"),
    without_result=lambda reading: SHADOWS.labels(reading.state).inc(),
    **_OF_A_READING,
)
QUEUES: tuple[Queue[Any], ...] = (READINGS, SHADOW_READINGS)


@dataclass(frozen=True)
class Claim:
    """A reading that this worker holds until its lease ends; ``fence`` proves it. ``version_id`` is used to read it."""

    queue: ClassVar[Queue[Any]]
    id: UUID
    tenant_id: UUID
    fence: int
    version_id: UUID


@dataclass(frozen=True)
class ClaimedJob(Claim):
    queue = READINGS
    study_id: UUID


@dataclass(frozen=True)
class ClaimedShadow(Claim):
    queue = SHADOW_READINGS
    job_id: UUID


def extend_leases(*, claims: Sequence[Claim]) -> None:
    """Extend the leases of claims; rows that another worker has claimed since do not change."""
    for queue in QUEUES:
        if held := [claim for claim in claims if claim.queue is queue]:
            queue.renew(held)

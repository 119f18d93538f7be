"""How a worker holds rows of a queue: by a claim with a fence, and a lease on the database's clock."""

import datetime
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import ClassVar
from uuid import UUID

from django.conf import settings
from django.db.models.functions import Now

from apps.inference.models import MAX_ATTEMPTS, InferenceJob, JobState, QueuedReading, ShadowReading

LEASE = datetime.timedelta(seconds=settings.INFERENCE_LEASE_SECONDS)
BACK_OFF_SECONDS = (5, 30)
_FIELDS = ("id", "tenant_id", "state", "attempt", "fence", "created")


# What a claim writes into a row; the attempt counts from here, so that one which kills its worker counts too.
TAKEN = """
    state = 'running', attempt = attempt + 1, run_after = null,
    lease_until = now() + %(lease)s * interval '1 second', worker = %(worker)s
"""
# A row that a claim may take now.
WAITING = "state = 'queued' and (run_after is null or run_after <= now())"


@dataclass(frozen=True)
class Claim:
    """A reading that this worker holds until its lease ends, as ``fence`` proves, and the version that makes it."""

    queue: ClassVar[type[QueuedReading]]
    id: UUID
    tenant_id: UUID
    fence: int
    version_id: UUID


@dataclass(frozen=True)
class ClaimedJob(Claim):
    queue = InferenceJob
    study_id: UUID


@dataclass(frozen=True)
class ClaimedShadow(Claim):
    queue = ShadowReading
    job_id: UUID


def extend_leases(*, claims: Sequence[Claim], worker: str) -> None:
    """Say that this worker still works on these; what another has claimed since is left alone."""
    for queue, held in groupby(sorted(claims, key=lambda each: each.queue.__name__), lambda each: each.queue):
        rows = queue._default_manager.using("dispatch").filter(id__in=[each.id for each in held], worker=worker)
        rows.filter(state=JobState.RUNNING).update(lease_until=Now() + LEASE)


def held_row(claim: Claim) -> QueuedReading | None:
    """The claim's row, locked; None where it was lost meanwhile."""
    rows = claim.queue._default_manager.using("dispatch").select_for_update(no_key=True)
    return rows.filter(id=claim.id, fence=claim.fence, state=JobState.RUNNING).only(*_fields(claim.queue)).first()


def expired_rows(queue: type[QueuedReading]) -> list[QueuedReading]:
    """The rows whose worker fell silent, locked."""
    rows = queue._default_manager.using("dispatch").select_for_update(skip_locked=True, no_key=True)
    return list(rows.filter(state=JobState.RUNNING, lease_until__lt=Now()).only(*_fields(queue)))


def retry_or_fail(row: QueuedReading, code: str, reason: str) -> bool:
    """Queue a locked row again after a pause; at the last attempt end it as failed. Whether it failed."""
    rows = type(row)._default_manager.using("dispatch").filter(id=row.pk)
    if row.attempt >= MAX_ATTEMPTS:
        rows.update(state=JobState.FAILED, lease_until=None, reason_code=code, reason=reason, finished=Now())
        return True
    pause = BACK_OFF_SECONDS[row.attempt - 1] * random.uniform(0.8, 1.2)
    rows.update(state=JobState.QUEUED, lease_until=None, run_after=Now() + datetime.timedelta(seconds=pause), worker="")
    return False


def _fields(queue: type[QueuedReading]) -> tuple[str, ...]:
    return (*_FIELDS, "study_id", "priority") if queue is InferenceJob else _FIELDS

"""Claims and leases of queued readings: a claim has a fence, and a lease on the database's clock."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, ClassVar
from uuid import UUID

from django.conf import settings
from django.db.models import F
from django.db.models.functions import Coalesce, Least, Now
from django.utils import timezone

from apps.core.retry import MAX_ATTEMPTS, failure_of, pause_after_attempt, pause_after_wait, waits
from apps.core.work_queue import JobState
from apps.inference.models import InferenceJob, QueuedReading, ShadowReading

LEASE = datetime.timedelta(seconds=settings.INFERENCE_LEASE_SECONDS)
QUEUES: tuple[type[QueuedReading], ...] = (InferenceJob, ShadowReading)
_FIELDS = ("id", "tenant_id", "state", "attempt", "fence", "created", "is_suspect", "waits", "waiting_since")
_MOST_WAITS = 10_000


# What a claim writes into a row. The attempt is counted now, so that a job that kills its worker is counted too.
TAKEN = """
    state = 'running', attempt = attempt + 1, run_after = null, reason_code = '', reason = '',
    lease_until = now() + %(lease)s * interval '1 second', worker = %(worker)s
"""
# The condition of rows that a claim may take now. A suspect is claimed alone.
WAITING = "state = 'queued' and is_suspect = %(suspect)s and (run_after is null or run_after <= now())"


@dataclass(frozen=True)
class Claim:
    """A reading that this worker holds until its lease ends; ``fence`` proves it. ``version_id`` is used to read it."""

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
    """Extend the leases of this worker's claims; rows that another worker has claimed since do not change."""
    for queue, held in groupby(sorted(claims, key=lambda each: each.queue.__name__), lambda each: each.queue):
        rows = queue._default_manager.using("dispatch").filter(id__in=[each.id for each in held], worker=worker)
        rows.filter(state=JobState.RUNNING).update(lease_until=Now() + LEASE)


def held_row(claim: Claim) -> QueuedReading | None:
    """The claim's row, locked; None where another worker has claimed it since, or it has ended."""
    rows = claim.queue._default_manager.using("dispatch").select_for_update(no_key=True)
    return rows.filter(id=claim.id, fence=claim.fence, state=JobState.RUNNING).only(*_fields(claim.queue)).first()


def running_rows(queue: type[QueuedReading], **condition: Any) -> list[QueuedReading]:
    """Running rows that meet a condition, locked; rows that another session has locked are skipped."""
    rows = queue._default_manager.using("dispatch").select_for_update(skip_locked=True, no_key=True)
    return list(rows.filter(state=JobState.RUNNING, **condition).only(*_fields(queue)))


def retry_or_fail(row: QueuedReading, code: str, detail: str) -> bool:
    """Return a locked row to the queue after a failure, or end it as failed after the last attempt.

    Returns:
        Whether it ended as failed.
    """
    if waits(code, row.waits):
        return_to_queue(row, code)
        return False
    return spend_attempt(row, code, detail)


def return_to_queue(row: QueuedReading, code: str) -> None:
    """Queue a locked row again, to wait for the end of an outage; the attempt does not count."""
    _update(
        row,
        **_QUEUED,
        attempt=F("attempt") - 1,
        run_after=Now() + pause_after_wait(row.waits),
        waits=Least(F("waits") + 1, _MOST_WAITS),
        waiting_since=Coalesce("waiting_since", Now()),
        reason_code=code,
        reason=waiting_reason(code, row.waiting_since),
    )


def spend_attempt(row: QueuedReading, code: str, detail: str) -> bool:
    """Queue a locked row again after a pause, or end it as failed after the last attempt.

    Returns:
        Whether it ended as failed.
    """
    if row.attempt >= MAX_ATTEMPTS:
        reason = f"AI result unavailable: {detail}"
        _update(row, state=JobState.FAILED, lease_until=None, reason_code=code, reason=reason, finished=Now())
        return True
    _update(row, **_QUEUED, run_after=Now() + pause_after_attempt(row.attempt), waits=0, waiting_since=None)
    return False


def mark_suspect(row: QueuedReading) -> None:
    """Queue a locked row again, to be read alone: its worker died, and it is not known which row was the cause."""
    _update(row, **_QUEUED, attempt=F("attempt") - 1, is_suspect=True)


def waiting_reason(code: str, since: datetime.datetime | None = None) -> str:
    """The text that users see while a study waits for the end of an outage."""
    began = (since or timezone.now()).astimezone(datetime.UTC)
    return f"Waiting since {began:%Y-%m-%d %H:%M} UTC: {failure_of(code).what}. It is read as soon as that ends."


_QUEUED: dict[str, Any] = {"state": JobState.QUEUED, "lease_until": None, "worker": ""}


def _update(row: QueuedReading, **changes: Any) -> None:
    type(row)._default_manager.using("dispatch").filter(id=row.pk).update(**changes)


def _fields(queue: type[QueuedReading]) -> tuple[str, ...]:
    return (*_FIELDS, "study_id", "priority") if queue is InferenceJob else _FIELDS

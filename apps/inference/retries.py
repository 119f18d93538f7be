"""What becomes of jobs that failed, that lost their worker, or that wait for an outage to end.

`apps.core.retry` has the policy.
"""

import datetime
from collections.abc import Callable
from functools import partial
from typing import cast
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Coalesce, Now

from apps.core.metrics import JOBS, SHADOWS
from apps.core.process_names import has_ended
from apps.core.retry import failure_of
from apps.core.wake_up import WakeUp, wake_now
from apps.inference.leases import (
    QUEUES,
    Claim,
    held_row,
    mark_suspect,
    retry_or_fail,
    return_to_queue,
    running_rows,
    spend_attempt,
    waiting_reason,
)
from apps.inference.models import InferenceJob, JobState, QueuedReading, Worker
from apps.inference.services import request_inference
from apps.studies.models import Instance, Study
from apps.tenants.scope import tenant_tx

# Of the jobs that ended last, so many are looked at for a sign that the device works.
_LOOKED_AT = 100


def give_back(*, job: Claim, code: str, detail: str = "") -> None:
    """Return a held job after a failure; what follows depends on its code.

    Args:
        code: one of `apps.core.retry.FAILURES`.
        detail: what the clinician reads where this was the last attempt; by default what the code stands for.
    """
    with transaction.atomic(using="dispatch"):
        row = held_row(job)
        if row is None:
            return
        if code == "worker-lost":
            _after_worker_died(row)
        elif code == "device-failed":
            _after_device_failed(row)
        elif retry_or_fail(row, code, detail or f"{failure_of(code).what}."):
            _failed(row)


def expire_leases() -> int:
    """Take back the jobs whose worker fell silent; how many there were."""
    return _take_back(lambda queue: running_rows(queue, lease_until__lt=Now()))


def free_ended_workers() -> int:
    """Take back, before their leases end, the jobs of workers of this machine that have ended; how many there were."""
    Worker.objects.filter(pk__in=[row.pk for row in Worker.objects.only("name") if has_ended(row.name)]).delete()
    names: set[str] = set()
    for queue in QUEUES:
        running = queue._default_manager.using("dispatch").filter(state=JobState.RUNNING)
        names |= set(running.values_list("worker", flat=True).distinct())
    ended = [name for name in names if has_ended(name)]
    return _take_back(lambda queue: running_rows(queue, worker__in=ended)) if ended else 0


def _take_back(find: Callable[[type[QueuedReading]], list[QueuedReading]]) -> int:
    with transaction.atomic(using="dispatch"):
        lost = [row for queue in QUEUES for row in find(queue)]
        for row in lost:
            _after_worker_died(row)
    return len(lost)


def _after_worker_died(row: QueuedReading) -> None:
    """Only the death of a worker that held nothing else spends an attempt: a batch may have died of any of its jobs."""
    if not row.is_suspect:
        mark_suspect(row)
    elif spend_attempt(row, "worker-lost", "The AI worker stopped three times while it read this study alone."):
        _failed(row)


def _after_device_failed(row: QueuedReading) -> None:
    """A device that fails is an outage, unless it reads other images meanwhile and fails again on this one alone."""
    if not row.is_suspect:
        return_to_queue(row, "device-failed")
        type(row)._default_manager.using("dispatch").filter(id=row.pk).update(is_suspect=True)
    elif row.waiting_since is None or not _any_complete_since(row.waiting_since):
        return_to_queue(row, "device-failed")
    elif spend_attempt(row, "device-failed", "The AI worker's device failed three times on this image alone."):
        _failed(row)


def _any_complete_since(since: datetime.datetime) -> bool:
    ended = InferenceJob.objects.using("dispatch").order_by("-id").values_list("state", "finished")[:_LOOKED_AT]
    return any(state == JobState.COMPLETE and finished > since for state, finished in ended if finished)


def _failed(row: QueuedReading) -> None:
    if isinstance(row, InferenceJob):
        JOBS.labels(JobState.FAILED).inc()
        transaction.on_commit(partial(_request_what_came_later, row), using="dispatch", robust=True)
    else:
        SHADOWS.labels(JobState.FAILED).inc()


def _request_what_came_later(failed: InferenceJob) -> None:
    """An image that arrived after the failed job was made deserves a reading of its own."""
    with tenant_tx(cast(UUID, failed.tenant_id)):
        study = Study.objects.select_for_update(no_key=True).filter(pk=failed.study_id).first()
        if study is None:
            return
        if Instance.objects.filter(series__study=study, received__gt=failed.created, rows__isnull=False).exists():
            request_inference(study_id=study.pk, priority=failed.priority)


def note_outage(code: str) -> None:
    """Let all waiting jobs say what they wait for. May be repeated; those that were queued meanwhile are added."""
    for queue in QUEUES:
        rows = queue._default_manager.using("dispatch").filter(state=JobState.QUEUED).exclude(reason_code=code)
        rows.update(reason_code=code, reason=waiting_reason(code), waiting_since=Coalesce("waiting_since", Now()))


def end_outage(code: str) -> None:
    """The outage is over: what waited for its end may be claimed at once."""
    freed = 0
    for queue in QUEUES:
        rows = queue._default_manager.using("dispatch").filter(state=JobState.QUEUED, reason_code=code)
        freed += rows.update(reason_code="", reason="", waiting_since=None, waits=0, run_after=None)
    if freed:
        wake_now(WakeUp.INFER)

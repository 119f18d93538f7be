"""Services for jobs that failed, that lost their worker, or that wait for the end of an outage.

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
from apps.core.work_queue import JobState
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
from apps.inference.models import InferenceJob, QueuedReading, Worker
from apps.inference.services import request_inference
from apps.studies.models import Instance, Study
from apps.tenants.scope import tenant_tx

# So many of the latest jobs are checked for a complete one, which shows that the device works.
_LATEST_JOBS = 100


def return_after_failure(*, job: Claim, code: str, detail: str = "") -> None:
    """Return a held job to the queue after a failure, or end it as failed; the code decides.

    Args:
        code: one of `apps.core.retry.FAILURES`.
        detail: the text that users see where this was the last attempt; by default the description of the code.
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
    """Queue the jobs with an expired lease again; return how many there were."""
    return _queue_again(lambda queue: running_rows(queue, lease_until__lt=Now()))


def free_ended_workers() -> int:
    """Queue the jobs of ended workers of this machine again, before their leases expire; return how many there were."""
    Worker.objects.filter(pk__in=[row.pk for row in Worker.objects.only("name") if has_ended(row.name)]).delete()
    names: set[str] = set()
    for queue in QUEUES:
        running = queue._default_manager.using("dispatch").filter(state=JobState.RUNNING)
        names |= set(running.values_list("worker", flat=True).distinct())
    ended = [name for name in names if has_ended(name)]
    return _queue_again(lambda queue: running_rows(queue, worker__in=ended)) if ended else 0


def _queue_again(find: Callable[[type[QueuedReading]], list[QueuedReading]]) -> int:
    with transaction.atomic(using="dispatch"):
        lost = [row for queue in QUEUES for row in find(queue)]
        for row in lost:
            _after_worker_died(row)
    return len(lost)


def _after_worker_died(row: QueuedReading) -> None:
    """Spend an attempt only where the worker held this job alone: any job of a batch may be the cause of a crash."""
    if not row.is_suspect:
        mark_suspect(row)
    elif spend_attempt(row, "worker-lost", "The AI worker stopped three times while it read this study alone."):
        _failed(row)


def _after_device_failed(row: QueuedReading) -> None:
    """Treat the failure of a device as an outage, unless other images were read since and this one fails alone."""
    if not row.is_suspect:
        return_to_queue(row, "device-failed")
        type(row)._default_manager.using("dispatch").filter(id=row.pk).update(is_suspect=True)
    elif row.waiting_since is None or not _any_complete_since(row.waiting_since):
        return_to_queue(row, "device-failed")
    elif spend_attempt(row, "device-failed", "The AI worker's device failed three times on this image alone."):
        _failed(row)


def _any_complete_since(since: datetime.datetime) -> bool:
    ended = InferenceJob.objects.using("dispatch").order_by("-id").values_list("state", "finished")[:_LATEST_JOBS]
    return any(state == JobState.COMPLETE and finished > since for state, finished in ended if finished)


def _failed(row: QueuedReading) -> None:
    if isinstance(row, InferenceJob):
        JOBS.labels(JobState.FAILED).inc()
        transaction.on_commit(partial(_read_later_images, row), using="dispatch", robust=True)
    else:
        SHADOWS.labels(JobState.FAILED).inc()


def _read_later_images(failed: InferenceJob) -> None:
    """Queue the study again where an image arrived after the failed job was created."""
    with tenant_tx(cast(UUID, failed.tenant_id)):
        study = Study.objects.select_for_update(no_key=True).filter(pk=failed.study_id).first()
        if study is None:
            return
        if Instance.objects.filter(series__study=study, received__gt=failed.created, rows__isnull=False).exists():
            request_inference(study_id=study.pk, priority=failed.priority)


def note_outage(code: str) -> None:
    """Set the outage as the reason of all waiting jobs. It can be repeated, to include jobs that were queued since."""
    for queue in QUEUES:
        rows = queue._default_manager.using("dispatch").filter(state=JobState.QUEUED).exclude(reason_code=code)
        rows.update(reason_code=code, reason=waiting_reason(code), waiting_since=Coalesce("waiting_since", Now()))


def end_outage(code: str) -> None:
    """Let the jobs that waited for the end of an outage be claimed at once."""
    freed = 0
    for queue in QUEUES:
        rows = queue._default_manager.using("dispatch").filter(state=JobState.QUEUED, reason_code=code)
        freed += rows.update(reason_code="", reason="", waiting_since=None, waits=0, run_after=None)
    if freed:
        wake_now(WakeUp.INFER)

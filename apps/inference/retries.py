"""Services for readings that failed, that lost their worker, or that wait for the end of an outage.

`apps.core.retry` has the policy, `apps.core.work_queue` follows it; the failure of a device is treated here.
"""

import datetime

from django.db import transaction

from apps.core.process_names import has_ended
from apps.core.retry import failure_of
from apps.core.wake_up import WakeUp, wake_now
from apps.core.work_queue import JobState
from apps.inference.leases import QUEUES, Claim
from apps.inference.models import InferenceJob, QueuedReading, Worker

# So many of the latest jobs are checked for a complete one, which shows that the device works.
_LATEST_JOBS = 100


def return_after_failure(*, job: Claim, code: str, detail: str = "") -> None:
    """Return a held job to the queue after a failure, or end it as failed; the code decides.

    Args:
        code: one of `apps.core.retry.FAILURES`.
        detail: the text that users see where this was the last attempt; by default the description of the code.
    """
    with transaction.atomic(using="dispatch"):
        row = job.queue.locked(job)
        if row is None:
            return
        if code == "device-failed":
            _after_device_failed(job, row)
        else:
            reason = f"AI result unavailable: {detail or f'{failure_of(code).cause}.'}"
            job.queue.after_failure(row, code, reason)


def expire_leases() -> int:
    """Queue the jobs with an expired lease again; return how many there were."""
    return sum(queue.expire_leases() for queue in QUEUES)


def free_ended_workers() -> int:
    """Queue the jobs of ended workers of this machine again, before their leases expire; return how many there were."""
    Worker.objects.filter(pk__in=[row.pk for row in Worker.objects.only("name") if has_ended(row.name)]).delete()
    return sum(queue.free_ended_workers() for queue in QUEUES)


def _after_device_failed(job: Claim, row: QueuedReading) -> None:
    """Treat the failure of a device as an outage, unless other images were read since and this one fails alone."""
    if not row.is_suspect or row.waiting_since is None or not _any_complete_since(row.waiting_since):
        job.queue.postpone(row, "device-failed", is_suspect=True)
    else:
        reason = "AI result unavailable: The inference worker's device failed three times on this image alone."
        job.queue.use_attempt(row, "device-failed", reason)


def _any_complete_since(since: datetime.datetime) -> bool:
    ended = InferenceJob.objects.using("dispatch").order_by("-id").values_list("state", "finished")[:_LATEST_JOBS]
    return any(state == JobState.COMPLETE and finished > since for state, finished in ended if finished)


def note_outage(code: str) -> None:
    """Set the outage as the reason of all waiting jobs. It can be repeated, to include jobs that were queued since."""
    for queue in QUEUES:
        queue.note_outage(code)


def end_outage(code: str) -> None:
    """Let the jobs that waited for the end of an outage be claimed at once."""
    if sum(queue.end_outage(code) for queue in QUEUES):
        wake_now(WakeUp.INFER)

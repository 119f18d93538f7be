"""Storage commitment as SCU (PS3.4 annex J): requests about delivered instances, and what the peers report.

The rows are the truth: a request is made in the transaction that ends its delivery, and a report ends it. Where none
comes in time, the peer is asked again; an instance that it does not keep is sent again by the schedule of deliveries.
"""

from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Final
from uuid import UUID

from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.utils.translation import override
from pydicom.uid import generate_uid

from apps.core.retry import pause_after_attempt
from apps.core.wake_up import WakeUp, wake_after_commit
from apps.core.watched_queues import DISPATCHED_COLUMNS, watch
from apps.core.webhooks import PAUSES
from apps.core.work_queue import OPEN_STATES, JobState, Queue
from apps.events.models import CommitmentRequest, Delivery

TOGETHER: Final = timedelta(seconds=30)
"""A request waits for so long, because the objects of a study are delivered one after the other."""
REPORT_WITHIN: Final = timedelta(hours=12)
UNANSWERED_PAUSE: Final = timedelta(minutes=5)
MOST_ASKED: Final = 2
MOST_TOGETHER: Final = 100

FAILURE_REASONS: Final[Mapping[int, Promise]] = {
    0x0110: _("it failed to process the instance"),
    0x0112: _("it has no such instance"),
    0x0119: _("it has the instance with another SOP class"),
    0x0122: _("it does not support the SOP class"),
    0x0131: _("it knows the Transaction UID already"),
    0x0213: _("it lacks resources"),
}
"""Failure Reason (0008,1197) of an instance in a report (PS3.3 C.14.1.1)."""


def failure_text(request: CommitmentRequest) -> str:
    """The failure that a peer reported for an instance, for people; empty where it reported none."""
    if request.state != JobState.REJECTED:
        return ""
    meaning = FAILURE_REASONS.get(int(request.reason_code, 16))
    return f"{meaning} ({request.reason_code})" if meaning else request.reason_code


class _OfEnabled(Queue[CommitmentRequest]):
    def due(self) -> "QuerySet[CommitmentRequest]":
        return super().due().filter(destination__is_enabled=True)


ASKING = _OfEnabled(
    CommitmentRequest,
    WakeUp.COMMIT,
    columns=(*DISPATCHED_COLUMNS, "destination_id", "priority"),
    using="dispatch",
    # Longer than any attempt takes.
    lease=timedelta(minutes=5),
    pauses=PAUSES,
)
watch(ASKING)


def request_commitment(delivery: Delivery, sop_class_uid: str, sop_instance_uid: str) -> None:
    """Request the commitment to an instance, in the transaction that ends its delivery."""
    fresh = {
        "destination_id": delivery.destination_id, "sop_class_uid": sop_class_uid, "sop_instance_uid": sop_instance_uid,
        "transaction_uid": "", "former_transaction_uid": "", "asked": None, "times_asked": 0,
        "state": JobState.QUEUED, "attempts": 0, "run_after": timezone.now() + TOGETHER,
        "lease_until": None, "finished": None, "reason": "", "reason_code": "",
    }  # fmt: skip
    # A worker that asks for the former one by now loses it, because the fence is higher.
    if not CommitmentRequest.objects.filter(delivery=delivery.pk).update(**fresh, fence=F("fence") + 1):
        CommitmentRequest.objects.create(delivery_id=delivery.pk, **fresh)


def forget_requests(destination_id: UUID) -> None:
    """Remove the requests to a destination that is not asked any more, except those with a commitment."""
    CommitmentRequest.objects.filter(destination=destination_id).exclude(state=JobState.COMPLETE).delete()


def begin_transaction(claimed: Collection[CommitmentRequest]) -> tuple[str, list[CommitmentRequest]]:
    """Give claimed requests of one destination a new Transaction UID, before they are sent (PS3.4 J.3.2).

    A request that was asked often enough ends without a report.

    Returns:
        The UID, and the requests that are to be sent with it, read whole.
    """
    # Locked: a report may end one of them at this moment.
    locked = CommitmentRequest.objects.select_for_update(no_key=True, of=("self",))
    held = locked.filter(state=JobState.RUNNING, fence__in={each.fence for each in claimed})
    rows = list(held.filter(pk__in=[each.pk for each in claimed]).order_by("delivery_id"))
    unanswered = [each for each in rows if each.times_asked >= MOST_ASKED]
    for each in unanswered:
        hours = round(REPORT_WITHIN.total_seconds() / 3600)
        reason = f"No report came within {hours} hours, though it was asked {each.times_asked} times."
        CommitmentRequest.objects.filter(pk=each.pk).update(
            state=JobState.FAILED, reason=reason, finished=Now(), lease_until=None
        )
    asked = [each for each in rows if each not in unanswered]
    transaction_uid = str(generate_uid(prefix=None))
    CommitmentRequest.objects.filter(pk__in=[each.pk for each in asked]).update(
        former_transaction_uid=F("transaction_uid"), transaction_uid=transaction_uid
    )
    return transaction_uid, asked


def postpone_requests(destination_id: UUID) -> None:
    """Let the requests to a destination that did not answer wait, so that they do not hold up those to others."""
    due = CommitmentRequest.objects.filter(
        destination=destination_id, state=JobState.QUEUED, run_after__lt=Now() + UNANSWERED_PAUSE
    )
    due.update(run_after=Now() + UNANSWERED_PAUSE)


def await_report(asked: Collection[CommitmentRequest]) -> None:
    """The peer took these requests: they wait for its report, and are sent again where none comes in time."""
    for each in asked:
        # A report may have come meanwhile, and ended the request.
        ASKING.held(each).update(
            state=JobState.QUEUED, run_after=Now() + REPORT_WITHIN, asked=Now(), times_asked=F("times_asked") + 1,
            attempts=0, lease_until=None, worker="", reason="",
        )  # fmt: skip


def record_report(
    *, ae_title: str, transaction_uid: str, committed: Collection[str], failures: Mapping[str, int]
) -> bool:
    """Record a peer's report to the tenant in force. The same report once more changes nothing.

    Args:
        committed: SOP Instance UIDs.
        failures: SOP Instance UID → Failure Reason.

    Returns:
        False where this peer was not asked with this Transaction UID.
    """
    with_uid = Q(transaction_uid=transaction_uid) | Q(former_transaction_uid=transaction_uid)
    asked = CommitmentRequest.objects.filter(with_uid, destination__peer__ae_title=ae_title)
    with transaction.atomic():
        rows = list(asked.select_for_update(no_key=True, of=("self",)).order_by("delivery_id"))
        # What was given up is still answered by a late report.
        for row in [each for each in rows if each.state in (*OPEN_STATES, JobState.FAILED)]:
            if row.sop_instance_uid in failures:
                _end(row, JobState.REJECTED, failures[row.sop_instance_uid])
            elif row.sop_instance_uid in committed:
                _end(row, JobState.COMPLETE)
    return bool(rows)


def _end(row: CommitmentRequest, state: JobState, failure: int | None = None) -> None:
    row.state, row.reason_code = state, "" if failure is None else f"0x{failure:04X}"
    row.reason, row.lease_until = "", None
    row.finished = row.asked = timezone.now()
    row.save(update_fields=["state", "reason_code", "reason", "lease_until", "finished", "asked"])
    if failure is not None:
        with override("en"):
            reason = f"The peer does not commit itself to keep it: {failure_text(row)}."
        _deliver_again(row.delivery_id, reason)


def _deliver_again(delivery_id: UUID, reason: str) -> None:
    """Queue a delivery once more after its pause, or give it up after its last attempt."""
    delivery = Delivery.objects.select_for_update(no_key=True).filter(pk=delivery_id, state=JobState.COMPLETE).first()
    if delivery is None:
        # It is being sent again already.
        return
    delivery.reason = reason
    if delivery.attempts > len(PAUSES):
        delivery.state, delivery.finished = JobState.FAILED, timezone.now()
    else:
        delivery.state, delivery.finished = JobState.QUEUED, None
        delivery.run_after = timezone.now() + pause_after_attempt(delivery.attempts, PAUSES)
        wake_after_commit(WakeUp.SEND)
    delivery.save(update_fields=["state", "finished", "reason", "run_after"])

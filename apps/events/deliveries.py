"""The queue of what goes to tenants' destinations: claims, outcomes, and sending again.

One delivery at a time goes to a destination. Where a destination itself does not answer, its other deliveries wait with
the one that failed, so that they use up neither their attempts nor the time of the worker, and all are due again as
soon as one succeeds. Other destinations do not notice it.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import cast
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import Count, Exists, OuterRef, QuerySet
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.core.errors import ConflictError
from apps.core.wake_up import WakeUp, wake_after_commit
from apps.core.watched_queues import DISPATCHED_COLUMNS, watch
from apps.core.webhooks import PAUSES
from apps.core.work_queue import JobState, Queue
from apps.events.commitments import request_commitment
from apps.events.models import Delivery
from apps.routing.models import Destination
from apps.tenants.scope import tenant_tx

ENDED_WITHOUT = (JobState.FAILED, JobState.REJECTED)
"""The states of dead letters."""

# After this time at most, another delivery tries a destination that did not answer.
_LONGEST_WAIT_TOGETHER = timedelta(minutes=5)


class _OnePerDestination(Queue[Delivery]):
    def due(self) -> "QuerySet[Delivery]":
        under_way = self._rows().filter(destination=OuterRef("destination"), state=JobState.RUNNING)
        return super().due().filter(destination__is_enabled=True).exclude(Exists(under_way))

    def claim(self, *, worker: str, limit: int = 1, due: "QuerySet[Delivery] | None" = None) -> list[Delivery]:
        claimed: list[Delivery] = []
        while len(claimed) < limit:
            try:
                found = super().claim(worker=worker, due=due)
            except IntegrityError:
                # Another worker has just claimed one for the same destination.
                continue
            if not found:
                break
            claimed += found
        return claimed


SENDING = _OnePerDestination(
    Delivery,
    WakeUp.SEND,
    columns=(*DISPATCHED_COLUMNS, "destination_id", "priority"),
    using="dispatch",
    # Longer than any attempt takes.
    lease=timedelta(minutes=5),
    pauses=PAUSES,
)
watch(SENDING)


@dataclass(frozen=True)
class SendOutcome:
    """The outcome of one attempt.

    Attributes:
        answer: the status that was received; empty where there was none.
        failure: why it was not taken, without patient data; empty for a success.
        is_of_destination: the destination itself failed, not only with this content.
        is_final: a further attempt would end the same.
        is_gone: the receiver answered that it wants nothing any more (HTTP 410).
        outage: the code of an outage of the platform, during which it waits (`apps.core.retry`).
        to_commit: SOP class and SOP instance that were stored, where the destination is asked for storage commitment.
    """

    answer: str = ""
    failure: str = ""
    is_of_destination: bool = False
    is_final: bool = False
    is_gone: bool = False
    outage: str = ""
    to_commit: tuple[str, str] | None = None


def count_unfinished() -> dict[str, int]:
    """How many deliveries of all tenants wait, and how many were given up."""
    unfinished = Delivery.objects.using("dispatch").exclude(state=JobState.COMPLETE).order_by()
    counts = dict(unfinished.values_list("state").annotate(number=Count("pk")))
    given_up = sum(counts.pop(state, 0) for state in ENDED_WITHOUT)
    return {"waiting": sum(counts.values()), "given-up": given_up}


def finish_delivery(*, delivery: Delivery, outcome: SendOutcome) -> None:
    """Record the outcome of an attempt: delivered, queued again, or given up."""
    tenant_id = cast(UUID, delivery.tenant_id)
    if outcome.outage:
        SENDING.fail(job=delivery, code=outcome.outage)
    elif not outcome.failure:
        with tenant_tx(tenant_id):
            if SENDING.complete(job=delivery, answer=outcome.answer):
                _note_success(delivery.destination_id)
                if outcome.to_commit is not None:
                    request_commitment(delivery, *outcome.to_commit)
    elif outcome.is_gone or outcome.is_final:
        with tenant_tx(tenant_id):
            if SENDING.reject(job=delivery, reason=outcome.failure, answer=outcome.answer) and outcome.is_gone:
                _switch_off(delivery.destination_id)
    else:
        SENDING.fail(job=delivery, reason=outcome.failure, answer=outcome.answer)
        if outcome.is_of_destination:
            with tenant_tx(tenant_id):
                _note_failure(delivery, outcome)


def _note_success(destination_id: UUID) -> None:
    destination = Destination.objects.filter(pk=destination_id)
    if destination.exclude(last_error="").update(last_error=""):
        waiting = Delivery.objects.filter(destination=destination_id, state=JobState.QUEUED, run_after__gt=Now())
        if waiting.update(run_after=None):
            wake_after_commit(WakeUp.SEND)
    destination.update(last_success=Now())


def _note_failure(delivery: Delivery, outcome: SendOutcome) -> None:
    Destination.objects.filter(pk=delivery.destination_id).update(last_failure=Now(), last_error=outcome.failure[:500])
    again = Delivery.objects.filter(pk=delivery.pk).values_list("run_after", flat=True).first()
    until = timezone.now() + _LONGEST_WAIT_TOGETHER
    until = min(until, again) if again else until
    others = Delivery.objects.filter(destination=delivery.destination_id, state=JobState.QUEUED).exclude(pk=delivery.pk)
    others.exclude(run_after__gt=until).update(run_after=until)


def _switch_off(destination_id: UUID) -> None:
    Destination.objects.filter(pk=destination_id).update(
        is_enabled=False,
        disabled_because=f"The receiver answered 410 Gone on {timezone.now():%Y-%m-%d %H:%M} UTC.",
    )


def send_again(*, deliveries: Collection[UUID]) -> int:
    """Queue deliveries of the tenant in force that ended once more, with their old ids; return how many.

    Raises:
        ConflictError: their destination is switched off.
    """
    ended = Delivery.objects.filter(pk__in=deliveries, state__in=[JobState.COMPLETE, *ENDED_WITHOUT])
    if ended.filter(destination__is_enabled=False).exists():
        raise ConflictError(_("This destination is switched off: switch it on first."), "destination-off")
    with transaction.atomic():
        queued = ended.update(
            state=JobState.QUEUED, attempts=0, run_after=None, finished=None, reason="", reason_code="", answer=""
        )
        if queued:
            wake_after_commit(WakeUp.SEND)
    return queued

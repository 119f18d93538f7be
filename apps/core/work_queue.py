"""Rows of work on PostgreSQL: claimed with a lease, ended by the worker with the current fence, three attempts each."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar, Generic, TypeVar

from django.conf import settings
from django.db import models, transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now

from apps.core.identifiers import uuid7
from apps.core.wake_up import WakeUp, wake_after_commit


class JobState(models.TextChoices):
    QUEUED = "queued", "Queued"
    RUNNING = "running", "Running"
    COMPLETE = "complete", "Complete"
    REJECTED = "rejected", "Rejected"
    FAILED = "failed", "Failed"


OPEN_STATES = (JobState.QUEUED, JobState.RUNNING)


class Work(models.Model):
    """One job, from its request to its end. A worker holds it for the time of a lease; it has three attempts."""

    class State(models.TextChoices):
        WAITING = "waiting", "Waits"
        RUNNING = "running", "Runs"
        COMPLETE = "complete", "Complete"
        REFUSED = "refused", "Refused"
        FAILED = "failed", "Failed"

    OPEN = (State.WAITING, State.RUNNING)

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    state = models.CharField(max_length=10, choices=State, default=State.WAITING)
    attempts = models.PositiveIntegerField(default=0)
    # Every claim increments it: a worker with an older fence has lost the job, and may not end it.
    fence = models.PositiveIntegerField(default=0)
    worker = models.CharField(max_length=200, blank=True)
    not_before = models.DateTimeField(db_default=Now())
    lease_expires = models.DateTimeField(null=True)
    reason = models.TextField(blank=True)
    created = models.DateTimeField(auto_now_add=True)
    finished = models.DateTimeField(null=True)

    class Meta:
        abstract = True
        ordering: ClassVar = ["-id"]


ATTEMPTS = 3
_PAUSE = timedelta(seconds=30)
_LONGEST_REASON = 2000
_CLAIMABLE = Q(state=Work.State.WAITING, not_before__lte=Now()) | Q(state=Work.State.RUNNING, lease_expires__lt=Now())
W = TypeVar("W", bound=Work)


def _nothing(job: Any) -> None:
    """Do nothing when a job ends without a result."""


@dataclass(frozen=True)
class Queue(Generic[W]):
    """The work of one kind, and the message that wakes its worker.

    ``without_result`` is called in the transaction in which a job is refused or given up.
    """

    kind: type[W]
    wake_up: WakeUp
    related: tuple[str, ...]
    without_result: Callable[[W], None] = _nothing

    def waits(self) -> bool:
        """Whether a worker would find something to do."""
        return self._rows().filter(_CLAIMABLE).exists()

    def claim(self, *, worker: str) -> W | None:
        """The oldest job that no worker has, leased to this worker."""
        while True:
            with transaction.atomic():
                rows = self._rows().select_for_update(skip_locked=True, of=("self",)).select_related(*self.related)
                job = rows.filter(_CLAIMABLE).order_by("id").first()
                if job is None:
                    return None
                if job.attempts < ATTEMPTS:
                    job.state, job.worker = Work.State.RUNNING, worker
                    job.attempts, job.fence = job.attempts + 1, job.fence + 1
                    job.lease_expires = Now() + _lease()
                    job.save(update_fields=["state", "worker", "attempts", "fence", "lease_expires"])
                    return job
                died = f"Its worker died {ATTEMPTS} times: see the logs of the jobs worker."
                self._end(job, Work.State.FAILED, reason=died)

    def held(self, job: W) -> "QuerySet[W]":
        """The job's row, or none where another worker took it up or it has ended."""
        return self._rows().filter(pk=job.pk, fence=job.fence, state=Work.State.RUNNING)

    def extend(self, *, job: W) -> bool:
        """Extend the lease; False where another worker has the job by now."""
        return bool(self.held(job).update(lease_expires=Now() + _lease()))

    def complete(self, *, job: W, **result: Any) -> None:
        """End a job whose row the caller has locked."""
        self._end(job, Work.State.COMPLETE, **result)

    def refuse(self, *, job: W, reason: str) -> None:
        """It cannot be done: an outcome, which no further attempt changes."""
        with transaction.atomic():
            self._end(job, Work.State.REFUSED, reason=reason)

    def fail(self, *, job: W, reason: str) -> None:
        """An attempt failed; another one follows after a pause, three in all."""
        with transaction.atomic():
            if job.attempts >= ATTEMPTS:
                self._end(job, Work.State.FAILED, reason=reason)
            else:
                again = Now() + _PAUSE * job.attempts
                waiting: dict[str, Any] = {"not_before": again, "lease_expires": None, "reason": _short(reason)}
                self.held(job).update(state=Work.State.WAITING, **waiting)

    def postpone(self, *, job: W, reason: str) -> None:
        """An outage stopped it: it waits and begins again, and the attempt does not count."""
        waiting: dict[str, Any] = {"not_before": Now() + _PAUSE, "lease_expires": None, "attempts": F("attempts") - 1}
        self.held(job).update(state=Work.State.WAITING, reason=_short(reason), **waiting)

    def release(self, *, job: W) -> None:
        """The worker stops: the attempt does not count."""
        waiting: dict[str, Any] = {"not_before": Now(), "lease_expires": None, "attempts": F("attempts") - 1}
        self.held(job).update(state=Work.State.WAITING, **waiting)
        wake_after_commit(self.wake_up)

    def _end(self, job: W, state: str, *, reason: str = "", **result: Any) -> None:
        ended: dict[str, Any] = {"lease_expires": None, "finished": Now(), "reason": _short(reason), **result}
        if self.held(job).update(state=state, **ended) and state != Work.State.COMPLETE:
            self.without_result(job)

    def _rows(self) -> "QuerySet[W]":
        return self.kind._default_manager.all()


def _short(reason: str) -> str:
    return reason.strip()[:_LONGEST_REASON]


def _lease() -> timedelta:
    return timedelta(seconds=settings.JOB_LEASE_SECONDS)

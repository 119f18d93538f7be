"""Rows of work in PostgreSQL: a worker claims rows with a lease and a fence, and ends them or returns them.

Readings of studies, shadow readings, evaluations, previews of a switch and deliveries of webhooks are all `Work`, and
each kind has one `Queue`. `apps.core.retry` says which failures wait and which ones use an attempt.
"""

import datetime
import secrets
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Protocol, TypeVar, cast
from uuid import UUID

from django.conf import settings
from django.db import connections, models, transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Coalesce, Least, Now
from django.utils import timezone

from apps.core.identifiers import uuid7
from apps.core.process_names import has_ended
from apps.core.retry import ATTEMPT_PAUSE_SECONDS, failure_of, pause_after_attempt, pause_after_wait, waits
from apps.core.wake_up import WakeUp, wake_after_commit


class JobState(models.TextChoices):
    """queued → running → complete | rejected | failed; what is not over leads from running back to queued."""

    QUEUED = "queued", "Queued"
    RUNNING = "running", "Running"
    COMPLETE = "complete", "Complete"
    # It cannot be done. That is an outcome, which no further attempt changes.
    REJECTED = "rejected", "Rejected"
    FAILED = "failed", "Failed"


OPEN_STATES = (JobState.QUEUED, JobState.RUNNING)


class RenamedStateField(models.CharField):
    """A `JobState` in a table that had other names for some states, and keeps them in the database.

    So processes of an older release, which serve during an upgrade, can read the rows.

    Args:
        stored_as: the name in the database of each state that has another one there.
    """

    def __init__(self, *args: Any, stored_as: Mapping[str, str], **kwargs: Any) -> None:
        self.stored_as = {str(state): stored for state, stored in stored_as.items()}
        self._states = {stored: state for state, stored in self.stored_as.items()}
        kwargs |= {"max_length": 10, "choices": JobState, "default": JobState.QUEUED}
        super().__init__(*args, **kwargs)

    def deconstruct(self) -> Any:
        name, path, args, kwargs = super().deconstruct()
        for fixed in ("max_length", "choices", "default"):
            del kwargs[fixed]
        return name, path, args, {**kwargs, "stored_as": self.stored_as}

    def get_prep_value(self, value: Any) -> Any:
        value = super().get_prep_value(value)
        return self.stored_as.get(value, value)

    def from_db_value(self, value: str | None, *_: Any) -> str | None:
        return self._states.get(value, value) if value is not None else None


class Work(models.Model):
    """A row of work, from its request to its end. A worker holds it for the time of a lease.

    Every claim sets a higher ``fence``. Only the holder of the current one may end the row, so a worker whose lease has
    expired writes nothing. A queued row has a ``reason_code`` while it waits for the end of an outage.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    state = models.CharField(max_length=10, choices=JobState, default=JobState.QUEUED)
    priority = models.SmallIntegerField(default=0, db_default=0, help_text="Higher goes first.")
    attempts: "models.IntegerField[Any, int]" = models.PositiveIntegerField(default=0)
    fence = models.BigIntegerField(default=0)
    lease_until = models.DateTimeField(null=True)
    run_after = models.DateTimeField(null=True)
    worker = models.CharField(max_length=200, blank=True, db_default="")
    is_suspect = models.BooleanField(
        default=False, db_default=False, help_text="A worker died while it held this: it is claimed alone."
    )
    waits = models.PositiveSmallIntegerField(
        default=0, db_default=0, help_text="How often in a row it went back to the queue without a spent attempt."
    )
    waiting_since = models.DateTimeField(null=True, help_text="When the outage began that it waits for.")
    reason_code = models.CharField(max_length=60, blank=True, db_default="")
    reason = models.TextField(blank=True)
    created = models.DateTimeField(auto_now_add=True)
    finished = models.DateTimeField(null=True)

    class Meta:
        abstract = True
        ordering: ClassVar = ["-id"]


class Claimed(Protocol):
    """What proves that a worker holds a row: the row as it was claimed, or a copy of these two values."""

    @property
    def id(self) -> UUID: ...
    @property
    def fence(self) -> int: ...


W = TypeVar("W", bound=Work)
_LONGEST_REASON = 2000
_MOST_WAITS = 10_000


def _nothing(row: Any) -> None:
    """Do nothing when a row ends without a result."""


@dataclass(frozen=True)
class Queue(Generic[W]):
    """The work of one kind.

    Attributes:
        kind: the model.
        wake_up: the message that wakes a worker of this kind.
        related: the relations that are read with a claimed row.
        columns: the columns that are read of a row; empty for all.
        order: of the claims.
        using: the connection that sees the rows of all tenants. Results are written on the default one.
        in_batches: a worker claims several rows at once, so any of them may be the cause of its death.
        keeps_reason: a queued row shows why its last attempt failed.
        lease: how long a claim lasts if it is not renewed.
        pauses: the pauses between attempts, in seconds; there is one attempt more.
        lost: the reason of a row whose workers died at every attempt.
        without_result: called with a row that is rejected or has failed, in the transaction that ends it.
    """

    kind: type[W]
    wake_up: WakeUp
    related: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    order: tuple[str, ...] = ("-priority", "id")
    using: str = "default"
    in_batches: bool = False
    keeps_reason: bool = True
    lease: datetime.timedelta = datetime.timedelta(seconds=settings.JOB_LEASE_SECONDS)
    pauses: Sequence[float] = ATTEMPT_PAUSE_SECONDS
    lost: str = "Its worker died at every attempt: see the logs of the worker."
    without_result: Callable[[W], None] = _nothing

    def due(self) -> "QuerySet[W]":
        """The rows that a worker may claim now, the next one first."""
        is_due = Q(run_after__isnull=True) | Q(run_after__lte=Now())
        return self._read().filter(is_due, state=JobState.QUEUED).order_by(*self.order)

    def claim(self, *, worker: str, limit: int = 1, due: "QuerySet[W] | None" = None) -> list[W]:
        """Claim up to ``limit`` rows for a worker.

        Args:
            due: some of the rows of ``due()``; all by default.
        """
        with transaction.atomic(using=self.using):
            claimed = self.lock((self.due() if due is None else due)[:limit])
            self.take(claimed, worker=worker)
        return claimed

    def lock(self, rows: "QuerySet[W]") -> list[W]:
        """Read and lock rows for the transaction in force; rows that another session has locked are left out."""
        return list(rows.select_for_update(skip_locked=True, no_key=True, of=("self",)))

    def take(self, rows: Sequence[W], *, worker: str, **columns: Any) -> None:
        """Lease locked rows to a worker. The attempt counts now, so that a row that kills its worker is counted too.

        Args:
            columns: other columns to set.
        """
        if not rows:
            return
        # If a crash of the database undoes a claim, the next one must not have the same fence: so by the clock, and by
        # chance where a fence of an earlier release is beyond the clock.
        fence = max(time.time_ns(), *(row.fence + 1 + secrets.randbits(30) for row in rows))
        columns |= {"state": JobState.RUNNING.value, "worker": worker, "fence": fence, "reason_code": "", "reason": ""}
        # By hand: the ORM takes longer to build this statement than PostgreSQL to run it.
        changes = ", ".join(f"{self._column(name)} = %s" for name in columns)
        attempts, lease = self._column("attempts"), self._column("lease_until")
        with connections[self.using].cursor() as cursor:
            cursor.execute(
                f"update {self.kind._meta.db_table} set {changes}, {attempts} = {attempts} + 1,"  # noqa: S608
                f" {lease} = now() + %s * interval '1 second' where id = any(%s::uuid[])",
                [*columns.values(), self.lease.total_seconds(), [row.pk for row in rows]],
            )
        for row in rows:
            row.attempts += 1
            for name, value in columns.items():
                setattr(row, name, value)

    def renew(self, claims: Collection[Claimed]) -> int:
        """Extend the leases of claims; return how many of them the worker still holds."""
        return self._rows().filter(_hold(*claims)).update(lease_until=Now() + self.lease)

    def held(self, claim: Claimed) -> "QuerySet[W]":
        """The row of a claim on the default connection; none where another worker has claimed it, or it has ended."""
        return self.kind._default_manager.filter(_hold(claim))

    def locked(self, claim: Claimed) -> W | None:
        """As ``held``, read and locked on the connection that sees all tenants."""
        return self._read().filter(_hold(claim)).select_for_update(no_key=True, of=("self",)).first()

    def complete(self, *, job: Claimed, **result: Any) -> bool:
        """End a row with its result, in the caller's transaction; False where the claim was lost."""
        return self._end(self.held(job), JobState.COMPLETE, **result)

    def reject(self, *, job: W, reason: str, code: str = "", **columns: Any) -> bool:
        """End a row that cannot be done; False where the claim was lost."""
        with transaction.atomic(savepoint=False):
            rejected = self._end(self.held(job), JobState.REJECTED, reason=reason, code=code, **columns)
            if rejected:
                job.state = JobState.REJECTED
                self.without_result(job)
        return rejected

    def release(self, *, job: Claimed) -> None:
        """The worker stops: the attempt does not count."""
        self._queue_again(self._rows().filter(_hold(job)), attempts=F("attempts") - 1)
        wake_after_commit(self.wake_up)

    def fail(self, *, job: Claimed, code: str = "", reason: str = "", **columns: Any) -> None:
        """Return a held row to the queue after a failure, or end it as failed after its last attempt.

        Args:
            code: of `apps.core.retry.FAILURES`; it decides whether the row waits or uses one attempt.
            reason: what people see; by default the description of the code.
            columns: other columns to set.
        """
        with transaction.atomic(using=self.using):
            row = self.locked(job)
            if row is not None:
                self.after_failure(row, code, reason or f"{failure_of(code).cause.capitalize()}.", **columns)

    def after_failure(self, row: W, code: str, reason: str, **columns: Any) -> None:
        """As ``fail``, for a locked row."""
        if code == "worker-lost":
            self.after_death(row)
        elif waits(code, row.waits):
            self.postpone(row, code, **columns)
        else:
            self.use_attempt(row, code, reason, **columns)

    def postpone(self, row: W, code: str, **columns: Any) -> None:
        """Queue a locked row again, to wait for the end of an outage; the attempt does not count."""
        self._queue_again(
            self._row(row),
            attempts=F("attempts") - 1,
            run_after=Now() + pause_after_wait(row.waits),
            waits=Least(F("waits") + 1, _MOST_WAITS),
            waiting_since=Coalesce("waiting_since", Now()),
            reason_code=code,
            reason=waiting_reason(code, row.waiting_since),
            **columns,
        )

    def use_attempt(self, row: W, code: str, reason: str, **columns: Any) -> None:
        """Queue a locked row again after a pause, or end it as failed after its last attempt."""
        if row.attempts > len(self.pauses):
            self._end(self._row(row), JobState.FAILED, reason=reason, code=code, **columns)
            row.state = JobState.FAILED
            self.without_result(row)
            return
        shown = {"reason": _short(reason)} if self.keeps_reason else {}
        pause = pause_after_attempt(row.attempts, self.pauses)
        columns |= {"run_after": Now() + pause, "waits": 0, "waiting_since": None, **shown}
        self._queue_again(self._row(row), **columns)

    def after_death(self, row: W) -> None:
        """Queue a locked row again whose worker died.

        An attempt is used only where the worker held this row alone. Any row of a batch may be the cause of a crash:
        each becomes a suspect, which is claimed alone.
        """
        if self.in_batches and not row.is_suspect:
            self._queue_again(self._row(row), attempts=F("attempts") - 1, is_suspect=True)
        else:
            is_last = row.attempts > len(self.pauses)
            self.use_attempt(row, "worker-lost", self.lost if is_last else "Its worker died, so it is tried again.")

    def expire_leases(self) -> int:
        """Queue the rows with an expired lease again; return how many there were."""
        return self._after_deaths(lease_until__lt=Now())

    def free_ended_workers(self) -> int:
        """Queue rows of ended workers of this machine again before their leases expire; return how many there were."""
        running = self._rows().filter(state=JobState.RUNNING).order_by()
        ended = [name for name in running.values_list("worker", flat=True).distinct() if has_ended(name)]
        return self._after_deaths(worker__in=ended) if ended else 0

    def _after_deaths(self, **condition: Any) -> int:
        with transaction.atomic(using=self.using):
            rows = self.lock(self._read().filter(state=JobState.RUNNING, **condition))
            for row in rows:
                self.after_death(row)
        return len(rows)

    def note_outage(self, code: str) -> None:
        """Set the outage as the reason of queued rows, except those that wait for a time of their own. Repeatable."""
        rows = self._rows().filter(state=JobState.QUEUED).exclude(reason_code=code)
        rows = rows.exclude(reason_code="", run_after__gt=Now())
        rows.update(reason_code=code, reason=waiting_reason(code), waiting_since=Coalesce("waiting_since", Now()))

    def end_outage(self, code: str) -> int:
        """Let the rows that waited for the end of an outage be claimed at once; return how many there were."""
        rows = self._rows().filter(state=JobState.QUEUED, reason_code=code)
        return rows.update(reason_code="", reason="", waiting_since=None, waits=0, run_after=Now())

    def _queue_again(self, rows: "QuerySet[W]", **columns: Any) -> None:
        rows.update(state=JobState.QUEUED, lease_until=None, worker="", **columns)

    def _end(self, rows: "QuerySet[W]", state: JobState, *, reason: str = "", code: str = "", **columns: Any) -> bool:
        ended = {"state": state, "reason_code": code, "reason": _short(reason), "lease_until": None, "finished": Now()}
        return bool(rows.update(**ended, **columns))

    def _row(self, row: W) -> "QuerySet[W]":
        return self._rows().filter(pk=row.pk)

    def _column(self, name: str) -> str:
        return str(cast("models.Field[Any, Any]", self.kind._meta.get_field(name)).column)

    def _rows(self) -> "QuerySet[W]":
        return self.kind._default_manager.using(self.using)

    def _read(self) -> "QuerySet[W]":
        rows = self._rows().select_related(*self.related) if self.related else self._rows()
        return rows.only(*self.columns) if self.columns else rows


def waiting_reason(code: str, since: datetime.datetime | None = None) -> str:
    """The text that people see while work waits for the end of an outage."""
    began = (since or timezone.now()).astimezone(datetime.UTC)
    return f"Waiting since {began:%Y-%m-%d %H:%M} UTC: {failure_of(code).cause}. It goes on as soon as that ends."


def _hold(*claims: Claimed) -> Q:
    """The rows that these claims still hold. All rows of one claim have the same fence."""
    ids, fences = [claim.id for claim in claims], {claim.fence for claim in claims}
    return Q(pk__in=ids, fence__in=fences, state=JobState.RUNNING)


def _short(reason: str) -> str:
    return reason.strip()[:_LONGEST_REASON]

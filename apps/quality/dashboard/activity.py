"""Volume and turnaround: what arrived on each day, what became of it, and how long it took."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from django.contrib.postgres.aggregates import ArrayAgg
from django.db.models import Count, DurationField, ExpressionWrapper, F, IntegerField, Q
from django.db.models.expressions import Combinable
from django.db.models.functions import Cast, Extract

from apps.core.work_queue import JobState
from apps.quality.dashboard.scope import Scope
from apps.reading.models import UNSIGNED, WAITING
from apps.reports.models import Report


@dataclass(frozen=True)
class Volume:
    """What became of the studies that arrived within a step: received is read, refused, failed and waiting together."""

    received: int = 0
    read: int = 0
    refused: int = 0
    failed: int = 0
    waiting: int = 0
    signed: int = 0

    def __add__(self, other: "Volume") -> "Volume":
        return Volume(**{name: value + getattr(other, name) for name, value in vars(self).items()})


@dataclass(frozen=True)
class Times:
    """How long it took from the arrival of a study, over the studies for which it has happened."""

    count: int = 0
    median: datetime.timedelta | None = None
    p90: datetime.timedelta | None = None


@dataclass(frozen=True)
class Activity:
    """The studies that arrived within a step.

    ``result`` is the time until the AI's result, from when its reading was queued, which is when its images arrived; of
    a study that was read again the last reading counts. ``signature`` is the time until the first signed report.
    """

    volume: Volume = Volume()
    result: Times = Times()
    signature: Times = Times()


def activity(scope: Scope) -> tuple[dict[datetime.date, Activity], Activity]:
    """By the first day of each step, where a step without studies is zero; and over the whole period.

    The percentiles are computed here: PostgreSQL would sort all the rows once more for each kind of them.
    """
    arrived = scope.entries().values(start=scope.start_of("received"))
    volumes = {row.pop("start").date(): row for row in arrived.annotate(**_VOLUME, seconds=_RESULT_SECONDS)}
    signed = scope.of_studies(Report.objects.filter(number=1)).values(start=scope.start_of("study__received"))
    signatures = {row["start"].date(): row["seconds"] for row in signed.annotate(seconds=_SIGNATURE_SECONDS)}
    results = {start: row.pop("seconds") or [] for start, row in volumes.items()}
    by_step = {
        start: Activity(
            Volume(**volumes.get(start, {})), _times(results.get(start, [])), _times(signatures.get(start, []))
        )
        for start in scope.starts
    }
    return by_step, Activity(
        sum((each.volume for each in by_step.values()), Volume()),
        _times(list(chain.from_iterable(results.values()))),
        _times(list(chain.from_iterable(signatures.values()))),
    )


def _seconds(taken: Combinable, **options: Any) -> ArrayAgg:
    return ArrayAgg(Cast(Extract(taken, "epoch"), IntegerField()), **options)


_IS_READ = Q(status=JobState.COMPLETE)
_VOLUME = {
    "received": Count("pk"),
    "read": Count("pk", filter=_IS_READ),
    "refused": Count("pk", filter=Q(status=JobState.REJECTED)),
    "failed": Count("pk", filter=Q(status=JobState.FAILED)),
    "waiting": Count("pk", filter=Q(status=WAITING)),
    "signed": Count("pk", filter=~UNSIGNED),
}


_RESULT_SECONDS = _seconds(ExpressionWrapper(F("job__finished") - F("job__created"), DurationField()), filter=_IS_READ)
_SIGNATURE_SECONDS = _seconds(ExpressionWrapper(F("signed_at") - F("study__received"), DurationField()))


def _times(seconds: Sequence[int]) -> Times:
    if not seconds:
        return Times()
    # The clocks of two machines may differ by more than a reading takes.
    taken = np.fromiter(seconds, dtype=np.float64, count=len(seconds)).clip(min=0)
    median, p90 = np.percentile(taken, (50, 90))
    return Times(len(seconds), datetime.timedelta(seconds=float(median)), datetime.timedelta(seconds=float(p90)))

"""The list of discordances to review of the tenant in force, and what reviews have found."""

import datetime
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import Case, Count, F, OuterRef, Q, QuerySet, Subquery, Value, When, Window
from django.db.models.functions import RowNumber
from django.utils import timezone

from apps.quality.models import Discordance, Resolution
from apps.quality.selectors import ConfirmedShare
from apps.reading.models import ReadingPolicy
from apps.reports.models import Report

LISTED_DAYS = 30
"""What waits longer leaves the list: the report has long been used."""
PRECISION_DAYS = 90


def to_review(policy: ReadingPolicy) -> "QuerySet[Discordance]":
    """What waits for a review, the latest day first, and of each day the highest score first.

    Of each day so many are listed as the policy says. A reviewed one still takes one of the day's places.
    """
    since = timezone.localdate() - datetime.timedelta(days=LISTED_DAYS)
    counted = Discordance.objects.filter(~Q(resolution="") | Q(ended_at=None), day__gte=since)
    place = Window(
        RowNumber(),
        partition_by=[F("day")],
        order_by=[Case(When(resolution="", then=Value(1)), default=Value(0)), F("score").desc(), F("pk")],
    )
    listed = counted.annotate(place=place).filter(place__lte=policy.discordances_a_day)
    waiting = _shown().filter(resolution="", ended_at=None, pk__in=listed.values("pk"))
    return waiting.order_by("-day", "-score", "pk")


def reviewed() -> "QuerySet[Discordance]":
    """What second readers have reviewed, the latest first."""
    return _shown().exclude(resolution="").order_by("-resolved_at", "pk")


def _shown() -> "QuerySet[Discordance]":
    """Each with ``author``: the member who gave the verdicts that are in force."""
    rows = Discordance.objects.filter(study__withdrawn=None)
    author = _versions_with_verdicts(OuterRef("study")).values("signed_by")[:1]
    return rows.select_related("study__patient", "report__signed_by", "resolved_by").annotate(author=Subquery(author))


def author_of(study_id: UUID) -> Any:
    """The primary key of the member who gave the verdicts that are in force; None where no report is signed."""
    return _versions_with_verdicts(study_id).values_list("signed_by", flat=True).first()


def _versions_with_verdicts(study: Any) -> "QuerySet[Report]":
    """The signed versions of a study's report, the latest first; an addendum only repeats the verdicts before it."""
    return Report.objects.filter(study=study, addendum="").order_by("-number")


@dataclass(frozen=True)
class Precision:
    """What reviews found of one kind of discordance, or of all."""

    ai_right: int
    report_right: int
    unclear: int

    @property
    def share(self) -> ConfirmedShare | None:
        """How often the AI was right, of all that were reviewed; what is unclear counts as not right."""
        total = self.ai_right + self.report_right + self.unclear
        return ConfirmedShare(self.ai_right, total) if total else None


@dataclass(frozen=True)
class MeasuredPrecision:
    """What the list is worth, from the reviews of the last `PRECISION_DAYS` days."""

    of_all: Precision
    of_flagged: Precision
    of_added: Precision


def measured_precision() -> MeasuredPrecision:
    """What reviews of the tenant in force found, of all discordances and by kind."""
    since = timezone.now() - datetime.timedelta(days=PRECISION_DAYS)
    rows = Discordance.objects.filter(~Q(resolution=""), resolved_at__gte=since)
    counts = {
        (row["flagged"], row["resolution"]): row["n"]
        for row in rows.order_by().values("flagged", "resolution").annotate(n=Count("id"))
    }

    def of(*kinds: bool) -> Precision:
        by_resolution = {each: sum(counts.get((kind, each), 0) for kind in kinds) for each in Resolution.values}
        return Precision(*(by_resolution[each] for each in Resolution))

    return MeasuredPrecision(of_all=of(True, False), of_flagged=of(True), of_added=of(False))

"""Which studies a dashboard counts: those that arrived in a period, of one modality where one is chosen."""

import datetime
import zoneinfo
from dataclasses import dataclass
from typing import Any, Literal

from django.db.models import Exists, OuterRef, QuerySet
from django.db.models.functions import TruncDay, TruncWeek

from apps.reading.models import WorklistEntry
from apps.studies.models import Instance, Series

Step = Literal["day", "week"]
DAY = datetime.timedelta(days=1)
MOST_DAYS = 366
"""The longest period."""
MOST_DAYS_BY_DAY = 93
"""A longer period is shown by week: the bars of its days would be too thin to see."""
FEWEST_STUDIES = 10
"""Shares of flagged or reviewed studies are shown from so many on: of fewer, they would be findings of patients."""
_LATEST_IMAGES = 2000


@dataclass(frozen=True)
class Scope:
    """Studies that arrived from the first to the last day of the hospital's calendar, both included.

    Attributes:
        zone: the hospital's time zone.
        modality: Modality of one of the study's series; empty for all.
    """

    first: datetime.date
    last: datetime.date
    step: Step
    zone: zoneinfo.ZoneInfo
    modality: str = ""

    @property
    def begin(self) -> datetime.datetime:
        return datetime.datetime.combine(self.first, datetime.time(), self.zone)

    @property
    def end(self) -> datetime.datetime:
        """The moment after the last day."""
        return datetime.datetime.combine(self.last + DAY, datetime.time(), self.zone)

    @property
    def starts(self) -> list[datetime.date]:
        """The first day of each step, also of those without a study; the Monday of a week."""
        first = self.first if self.step == "day" else self.first - self.first.weekday() * DAY
        days = DAY if self.step == "day" else 7 * DAY
        return [first + number * days for number in range((self.last - first) // days + 1)]

    def days_of(self, start: datetime.date) -> tuple[datetime.date, datetime.date]:
        """The first and the last day of a step, as far as the period includes it."""
        end = start if self.step == "day" else start + 6 * DAY
        return max(start, self.first), min(end, self.last)

    def start_of(self, received: str) -> TruncDay | TruncWeek:
        """The step in which a time lies, for queries; the first day of it is among `starts`."""
        return (TruncDay if self.step == "day" else TruncWeek)(received, tzinfo=self.zone)

    def entries(self) -> QuerySet[Any]:
        """The rows for lists of these studies."""
        rows = WorklistEntry.objects.filter(received__gte=self.begin, received__lt=self.end, is_withdrawn=False)
        return self._of_modality(rows).order_by()

    def of_studies(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        """The rows of a model with a ``study`` that belong to these studies."""
        rows = rows.filter(study__received__gte=self.begin, study__received__lt=self.end, study__withdrawn=None)
        return self._of_modality(rows).order_by()

    def _of_modality(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        if not self.modality:
            return rows
        return rows.filter(Exists(Series.objects.filter(study=OuterRef("study"), modality=self.modality)))


def modalities() -> list[str]:
    """The modalities of the latest images of the tenant in force."""
    images = Instance.objects.filter(rows__isnull=False).order_by("-id").values_list("series__modality", flat=True)
    return sorted({each for each in images[:_LATEST_IMAGES] if each})

"""What a member sent today, and what became of it: never a finding."""

import datetime
import zoneinfo
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import Case, Count, Max, OuterRef, QuerySet, Subquery, When
from django.utils import timezone

from apps.audit.models import AuditEvent
from apps.core.work_queue import OPEN_STATES, JobState
from apps.deployment.stops import AI_STOPPED
from apps.inference.models import InferenceJob
from apps.inference.selectors import RECEIVED
from apps.portal.remedies import remedy_of
from apps.reading.selectors import listed_studies, reading_policy
from apps.studies.models import Instance

PAGE_SIZE = 50
WAITING = (RECEIVED, *OPEN_STATES)
ATTENTION = (JobState.REJECTED, JobState.FAILED)
LAST_PAGE = 1000
_ORDER = (Case(When(status__in=ATTENTION, then=0), When(status__in=WAITING, then=1), default=2), "-last_sent", "-id")


@dataclass(frozen=True)
class SentStudy:
    """A study of today's, its state, and what its sender can do where it was not read."""

    study: Any

    @property
    def is_ai_stopped(self) -> bool:
        return bool(self.study.reason_code == AI_STOPPED)

    @property
    def remedy(self) -> str:
        return remedy_of(self.study.reason_code) if self.study.status in ATTENTION else ""


@dataclass(frozen=True)
class SentToday:
    """One page of the studies to which the member added images today, those that need attention first."""

    studies: list[SentStudy]
    total: int
    waiting: int
    attention: int
    page: int

    @property
    def read(self) -> int:
        return self.total - self.waiting - self.attention

    @property
    def next_page(self) -> int | None:
        return self.page + 1 if self.page * PAGE_SIZE < self.total else None

    @property
    def previous_page(self) -> int | None:
        return self.page - 1 if self.page > 1 else None


def sent_today(*, user_id: UUID, page: int = 1) -> SentToday:
    """What the user sent since midnight in the hospital's time zone, for the tenant in force."""
    sent = AuditEvent.objects.filter(
        action=AuditEvent.Action.INSTANCE_STORED, user_id=user_id, at__gte=_midnight()
    ).values("object_id")
    instances = Instance.objects.filter(pk__in=sent)
    latest = InferenceJob.objects.filter(study=OuterRef("pk")).order_by("-id").values("reason_code")[:1]
    mine = instances.filter(series__study=OuterRef("pk")).order_by().values("series__study")
    studies: QuerySet[Any] = listed_studies().filter(pk__in=instances.values("series__study"))
    states = dict(studies.order_by().values_list("status").annotate(Count("pk")))
    waiting = sum(states.get(state, 0) for state in WAITING)
    attention = sum(states.get(state, 0) for state in ATTENTION)
    listed = studies.annotate(
        reason_code=Subquery(latest),
        images_sent=Subquery(mine.annotate(number=Count("pk")).values("number")),
        last_sent=Subquery(mine.annotate(at=Max("received")).values("at")),
    ).order_by(*_ORDER)
    start = (page - 1) * PAGE_SIZE
    shown = [SentStudy(study) for study in listed[start : start + PAGE_SIZE]]
    return SentToday(shown, sum(states.values()), waiting, attention, page)


def _midnight() -> datetime.datetime:
    zone = zoneinfo.ZoneInfo(reading_policy().time_zone)
    return timezone.now().astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)

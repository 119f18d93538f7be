"""The page of critical findings: which notices a member sees, and how much of each."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.core.paginator import Page, Paginator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from apps.core.work_queue import JobState
from apps.critical.models import WAITING, CriticalNotice, NoticeEvent, NoticeState
from apps.critical.selectors import named_notices, visible_notices
from apps.reading.models import AiDisplay
from apps.reading.selectors import reading_policy
from apps.reports.models import BlindStep, Report
from apps.studies.models import Study
from apps.studies.selectors import in_conflict
from apps.tenants.models import Membership
from apps.tenants.services import sees_findings

ON_A_PAGE = 25
FILTERS: dict[str, Any] = {
    "open": gettext_lazy("Open"),
    "acknowledged": gettext_lazy("Acknowledged"),
    "closed": gettext_lazy("Closed"),
}


@dataclass(frozen=True)
class TrailLine:
    """One step of the trail; ``mail`` says what became of the mail to the person who was notified."""

    event: NoticeEvent

    @property
    def is_notification(self) -> bool:
        return self.event.kind in (
            NoticeEvent.Kind.NOTIFIED,
            NoticeEvent.Kind.ESCALATED,
            NoticeEvent.Kind.REPEATED,
        )

    @property
    def mail(self) -> str:
        mail = self.event.mail
        if not self.is_notification:
            return ""
        if mail is None:
            return _("on this page only: no mail server, or no e-mail address")
        if mail.state == JobState.COMPLETE:
            return _("mailed")
        if mail.state == JobState.REJECTED:
            return _("no mail was needed any more")
        return _("mail not delivered") if self.mail_failed else _("mail on its way")

    @property
    def mail_failed(self) -> bool:
        """Whether the mail was given up, or waits for another attempt."""
        mail = self.event.mail
        return mail is not None and (
            mail.state == JobState.FAILED or (mail.state == JobState.QUEUED and mail.attempts > 0)
        )


@dataclass(frozen=True)
class NoticeLine:
    """A notice as one member may see it."""

    notice: CriticalNotice
    trail: list[TrailLine]
    shows_finding: bool
    may_acknowledge: bool
    in_conflict: bool

    @property
    def is_waiting(self) -> bool:
        return self.notice.state in WAITING

    @property
    def is_acknowledged(self) -> bool:
        return self.notice.state == NoticeState.ACKNOWLEDGED

    @property
    def mail_failed(self) -> bool:
        return self.is_waiting and any(line.mail_failed for line in self.trail)


@dataclass(frozen=True)
class NoticePage:
    """One page of the list; ``hides_findings`` because the hospital reads blind first."""

    state: str
    page: "Page[CriticalNotice]"
    lines: list[NoticeLine]
    hides_findings: bool


def notice_page(*, membership: Membership, state: str, number: str) -> NoticePage:
    """The notices of one state: those that wait longest first, the others newest first."""
    state = state if state in FILTERS else "open"
    states = WAITING if state == "open" else (NoticeState(state),)
    rows = visible_notices(membership).filter(state__in=states).select_related("study__patient")
    page = Paginator(rows.order_by("created" if state == "open" else "-created", "pk"), ON_A_PAGE).get_page(number)
    return _lines(membership, state, page)


def _lines(membership: Membership, state: str, page: "Page[CriticalNotice]") -> NoticePage:
    notices = list(page.object_list)
    studies = {notice.study_id for notice in notices}
    is_blind = reading_policy().ai_display == AiDisplay.BLIND_FIRST
    revealed = _revealed(studies, membership) if is_blind else studies
    reads = sees_findings(membership)
    named = set(named_notices(membership).filter(pk__in=[each.pk for each in notices]).values_list("pk", flat=True))
    conflicts = set(Study.objects.filter(in_conflict(), pk__in=studies).values_list("pk", flat=True))
    trails: dict[UUID, list[TrailLine]] = {}
    for event in NoticeEvent.objects.filter(notice__in=notices).select_related("user", "mail"):
        trails.setdefault(event.notice_id, []).append(TrailLine(event))
    lines = [
        NoticeLine(
            notice=notice,
            trail=trails.get(notice.pk, []),
            shows_finding=reads and notice.study_id in revealed,
            may_acknowledge=reads or notice.pk in named,
            in_conflict=notice.study_id in conflicts,
        )
        for notice in notices
    ]
    return NoticePage(state, page, lines, hides_findings=is_blind and reads)


def _revealed(studies: Collection[UUID], membership: Membership) -> set[UUID]:
    """As ``hides_findings`` for many studies: those that the reader has committed on, or that have a signed report."""
    steps = BlindStep.objects.filter(
        study__in=studies, reader=membership.user_id, kind=BlindStep.Kind.COMMITTED
    ).values_list("study_id", flat=True)
    return {*steps, *Report.objects.filter(study__in=studies).values_list("study_id", flat=True)}

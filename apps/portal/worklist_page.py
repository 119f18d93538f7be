"""The studies of the worklist: filtered, in order, page by page."""

import datetime
import time
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from django.db.models import Exists, Max, OuterRef, Q, QuerySet
from django.utils import timezone

from apps.core.paging import Cursor, Segment, beyond, first_of, slice_of
from apps.core.work_queue import JobState
from apps.deployment.stops import AI_STOPPED
from apps.inference.models import Finding, InferenceJob
from apps.portal.conditional import fingerprint
from apps.portal.worklist_query import MINE, NEW_IMAGES, UNASSIGNED, WorklistQuery
from apps.reading.models import UNSIGNED, WAITING, OpenedStudy, WorklistEntry
from apps.reading.order import ORDERS, URGENT, in_order
from apps.reading.selectors import reading_policy
from apps.studies.names import comparable

PAGE_SIZE = 50
# The separators of components and groups of a name (PS3.5 6.2.1.2), and the comma that our pages show.
_SEPARATORS = str.maketrans("^=,()", "     ")
_A_MINUTE = datetime.timedelta(minutes=1)
_AT_LEAST_EVERY = 60


@dataclass(frozen=True)
class WorklistRow:
    """One line: the entry, the finding that the line names, and what it means to the person who looks."""

    entry: WorklistEntry
    shown: Finding | None
    is_unread: bool
    is_overdue: bool

    @property
    def others_flagged(self) -> int:
        """How many findings are flagged beside the one that is named."""
        return len(self.entry.flagged) - 1

    @property
    def is_ai_stopped(self) -> bool:
        job = self.entry.job
        return job is not None and (
            job.reason_code == AI_STOPPED or any(each.get("code") == AI_STOPPED for each in job.warnings)
        )


@dataclass(frozen=True)
class WorklistPage:
    query: WorklistQuery
    rows: list[WorklistRow]
    first_number: int
    next_address: str
    previous_address: str | None

    @property
    def last_number(self) -> int:
        return self.first_number + len(self.rows) - 1


def worklist_page(query: WorklistQuery, *, user_id: UUID) -> WorklistPage:
    """One page, with a fixed number of queries."""
    cursor = Cursor.decode(query.cursor, query.order, ORDERS[query.order]) if query.cursor else None
    now = timezone.now()
    cap = reading_policy().waiting_cap
    as_of = cursor.as_of if cursor is not None else now
    entries = in_order(filtered(query, user_id=user_id), query.order, as_of=as_of, waiting_cap=cap)
    found = slice_of(entries, order=query.order, size=PAGE_SIZE, cursor=cursor, as_of=as_of)
    return WorklistPage(
        query,
        _rows(found.ids, user_id=user_id, overdue_before=now - datetime.timedelta(minutes=cap)),
        found.number,
        query.at(found.following.encode()).address if found.following is not None else "",
        query.at(_place(found.previous)).address if found.previous is not None else None,
    )


def _place(previous: Cursor) -> str:
    """The first page has an address of its own, where new studies appear."""
    return "" if previous.number == 1 else previous.encode()


def filtered(query: WorklistQuery, *, user_id: UUID) -> "QuerySet[Any]":
    """The entries of the list, in no order."""
    entries: QuerySet[Any] = WorklistEntry.objects.filter(is_withdrawn=False)
    if query.status:
        attention = [JobState.REJECTED, JobState.FAILED]
        entries = entries.filter(status__in=attention if query.status == "attention" else [query.status])
    if query.flagged:
        entries = entries.filter(flagged__len__gt=0)
    if query.label:
        entries = entries.filter(flagged__contains=[query.label])
    if query.conflict:
        entries = entries.filter(in_conflict=True)
    if query.assigned:
        entries = entries.filter(assigned_to={MINE: user_id, UNASSIGNED: None}.get(query.assigned, query.assigned))
    if query.unread:
        entries = entries.filter(~_opened_by(user_id))
    return _matching(_by_report(_by_date(entries, query), query.report), query.text)


def _by_report(entries: "QuerySet[Any]", report: str) -> "QuerySet[Any]":
    if not report:
        return entries
    if report == NEW_IMAGES:
        return entries.filter(has_new_images=True)
    if report == "signed":
        return entries.exclude(report_status="")
    return entries.filter(report_status="").exclude(status=WAITING)


def _by_date(entries: "QuerySet[Any]", query: WorklistQuery) -> "QuerySet[Any]":
    if query.since:
        entries = entries.filter(received__gte=_midnight(query.since))
    if query.until:
        entries = entries.filter(received__lt=_midnight(query.until + datetime.timedelta(days=1)))
    if query.taken_since:
        entries = entries.filter(study_date__gte=query.taken_since)
    if query.taken_until:
        entries = entries.filter(study_date__lte=query.taken_until)
    return entries


def _midnight(day: datetime.date) -> datetime.datetime:
    return timezone.make_aware(datetime.datetime.combine(day, datetime.time.min))


def _matching(entries: "QuerySet[Any]", text: str) -> "QuerySet[Any]":
    """Every search term must occur in a group of the name, in the patient ID or in the accession number."""
    for term in unicodedata.normalize("NFC", text).translate(_SEPARATORS).split():
        entries = entries.filter(search_text__contains=comparable(term))
    return entries


def next_entry(query: WorklistQuery, *, user_id: UUID, after: UUID | None) -> WorklistEntry | None:
    """The next study of a list that is not signed and not assigned to another person.

    "Most urgent first" is read from its top: the first study that this person has not opened since its last news, so
    that a new pneumothorax is not passed by. Where all were opened, and in the other orders, it goes on behind the
    study that was left, and begins again at the top, as long as a study is not signed. In the list of a colleague it
    stays with the studies that are assigned to this colleague.

    Args:
        after: the study that was left; it is never the next one.
    """
    segments = partial(in_order, order=query.order, as_of=timezone.now(), waiting_cap=reading_policy().waiting_cap)
    entries = filtered(query, user_id=user_id).filter(UNSIGNED)
    if query.assigned in ("", MINE, UNASSIGNED):
        entries = entries.filter(Q(assigned_to=None) | Q(assigned_to=user_id))
    entries = entries.exclude(study=after)
    if query.order == URGENT:
        not_opened = first_of(segments(entries.filter(~_opened_by(user_id))))
        if not_opened is not None:
            return not_opened
    every = segments(entries)
    behind = _behind(segments(WorklistEntry.objects.filter(study=after)), every)
    return first_of(behind) or first_of(every)


def _behind(left: Sequence[Segment], entries: Sequence[Segment]) -> list[Segment]:
    """What follows in a list after the row that ``left`` has in one of its segments; all of it where it has none."""
    for place, (at, following) in enumerate(zip(left, entries, strict=True)):
        values = at.rows.values_list(*[key.name for key in at.keys]).first()
        if values is not None:
            rest = following.rows.filter(beyond(following.keys, values))
            return [Segment(rest, following.keys), *entries[place + 1 :]]
    return list(entries)


def _opened_by(user_id: UUID) -> Exists:
    """A condition: this person has opened the study since its last news."""
    return Exists(OpenedStudy.objects.filter(user=user_id, study=OuterRef("study"), at__gte=OuterRef("news_at")))


def list_state(query: WorklistQuery, *, user_id: UUID) -> str:
    """A fingerprint that changes when a page of this list may look otherwise; it reads no page.

    Of two transactions the one that wrote first may commit last, so the rows of the last minute are counted as well.
    What the rows do not say, such as a wait that passes the cap, is noticed within ``_AT_LEAST_EVERY`` seconds.
    """
    latest = WorklistEntry.objects.aggregate(at=Max("changed"))["at"]
    recent = WorklistEntry.objects.filter(changed__gt=latest - _A_MINUTE).count() if latest is not None else 0
    # A claim changes no entry: the lease of a job that is read now stands for it.
    leased = InferenceJob.objects.filter(state=JobState.RUNNING).aggregate(until=Max("lease_until"))["until"]
    period = int(time.time() // _AT_LEAST_EVERY)
    return fingerprint(query.address, query.text, query.with_order, latest, recent, leased, user_id, period)


def _rows(ids: Sequence[UUID], *, user_id: UUID, overdue_before: datetime.datetime) -> list[WorklistRow]:
    related = ("study__patient", "job", "assigned_to")
    entries = WorklistEntry.objects.select_related(*related).in_bulk(ids)
    studies = [each.study_id for each in entries.values()]
    opened = dict(OpenedStudy.objects.filter(user=user_id, study__in=studies).values_list("study_id", "at"))
    jobs = [each.job_id for each in entries.values() if each.is_complete]
    findings: dict[tuple[UUID | None, str], Finding] = {
        (each.job_id, each.label): each for each in Finding.objects.filter(job__in=jobs)
    }
    rows = []
    for entry in (entries[pk] for pk in ids if pk in entries):
        label = entry.urgent_label or (entry.job.top_label if entry.job is not None else "")
        at = opened.get(entry.study_id)
        rows.append(
            WorklistRow(
                entry,
                shown=findings.get((entry.job_id, label)),
                is_unread=at is None or at < entry.news_at,
                is_overdue=not entry.report_status and entry.received < overdue_before,
            )
        )
    return rows

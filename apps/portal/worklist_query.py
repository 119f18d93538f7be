"""The query of the worklist: its filters, its order and its pages."""

import datetime
import unicodedata
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from django.db.models import Case, Exists, F, OuterRef, Q, QuerySet, Subquery, When
from django.http import QueryDict
from django.utils import timezone
from django.utils.http import urlencode

from apps.core.work_queue import JobState
from apps.deployment.stops import AI_STOPPED
from apps.inference.models import Finding, InferenceJob
from apps.inference.selectors import RECEIVED, studies_with_status
from apps.registry import engine
from apps.reports.models import ReportStatus
from apps.reports.status import with_report_state
from apps.studies.models import Study

PAGE_SIZE = 50
LAST_PAGE = 2000
SEARCH_KEY = "worklist_search"
LONGEST_SEARCH = 100
# The separators of components and groups of a name (PS3.5 6.2.1.2), and the comma that our pages show.
_SEPARATORS = str.maketrans("^=,()", "     ")

WAITING = (RECEIVED, JobState.QUEUED, JobState.RUNNING)
ATTENTION = (JobState.REJECTED, JobState.FAILED)
STATUS_CHOICES: dict[str, str] = {
    "": "Any status",
    "waiting": "Waiting",
    JobState.COMPLETE: "Read by AI",
    JobState.REJECTED: "Not read",
    JobState.FAILED: "Failed",
    "attention": "Not read or failed",
}
BY_FINDING = "finding"
SORT_CHOICES: dict[str, str] = {
    "": "Newest first",
    "oldest": "Oldest first",
    BY_FINDING: "Highest finding",
    "status": "Status",
}
NEW_IMAGES = "new-images"
REPORT_CHOICES: dict[str, str] = {
    "": "Any report",
    ReportStatus.PRELIMINARY: "To sign",
    "signed": "Signed",
    NEW_IMAGES: "New images since the signature",
}


@dataclass(frozen=True)
class WorklistQuery:
    """The filters of the worklist. ``text`` may name a patient, so it is never part of a URL."""

    IN_ADDRESS: ClassVar = ("status", "flagged", "label", "report", "conflict", "since", "until", "sort", "page")

    status: str = ""
    flagged: bool = False
    label: str = ""
    report: str = ""
    conflict: bool = False
    since: datetime.date | None = None
    until: datetime.date | None = None
    sort: str = ""
    page: int = 1
    text: str = ""

    @classmethod
    def read(cls, params: QueryDict, text: str, *, with_findings: bool) -> "WorklistQuery":
        """Read the filters; an unknown value means no filter.

        Args:
            with_findings: whether the user may see findings; otherwise filters and orders by findings are ignored.
        """
        page = params.get("page", "1")
        query = cls(
            status=_known(params.get("status", ""), STATUS_CHOICES),
            flagged=params.get("flagged") == "1",
            label=_known(params.get("label", ""), engine.LABELS),
            report=_known(params.get("report", ""), REPORT_CHOICES),
            conflict=params.get("conflict") == "1",
            since=_date(params.get("since", "")),
            until=_date(params.get("until", "")),
            sort=_known(params.get("sort", ""), SORT_CHOICES),
            page=min(int(page), LAST_PAGE) if page.isascii() and page.isdigit() and int(page) > 0 else 1,
            text=text,
        )
        if with_findings:
            return query
        return replace(query, flagged=False, label="", sort="" if query.sort == BY_FINDING else query.sort)

    @property
    def address(self) -> str:
        """The query string of this view."""
        values = {name: getattr(self, name) for name in self.IN_ADDRESS}
        if values["page"] == 1:
            values["page"] = ""
        kept = {name: 1 if value is True else value for name, value in values.items() if value}
        return f"?{urlencode(kept)}" if kept else ""

    def at_page(self, page: int) -> "WorklistQuery":
        return replace(self, page=page)

    @property
    def narrows(self) -> bool:
        """Whether any filter is set."""
        return replace(self, sort="", page=1) != WorklistQuery()


def _known(value: str, choices: "dict[str, str] | tuple[str, ...]") -> str:
    return value if value in choices else ""


def _date(value: str) -> datetime.date | None:
    try:
        return datetime.date.fromisoformat(value)
    except ValueError:
        return None


@dataclass(frozen=True)
class WorklistPage:
    query: WorklistQuery
    studies: list[Study]
    has_next: bool

    @property
    def next_address(self) -> str:
        return self.query.at_page(self.query.page + 1).address if self.has_next else ""

    @property
    def previous_address(self) -> str | None:
        return self.query.at_page(self.query.page - 1).address if self.query.page > 1 else None

    @property
    def first_number(self) -> int:
        return (self.query.page - 1) * PAGE_SIZE + 1

    @property
    def last_number(self) -> int:
        return self.first_number + len(self.studies) - 1


def worklist_page(query: WorklistQuery) -> WorklistPage:
    """One page. One row more is read to know whether there is a next page, which is cheaper than a count."""
    start = (query.page - 1) * PAGE_SIZE
    found = list(_sorted(_filtered(query), query.sort)[start : start + PAGE_SIZE + 1])
    return WorklistPage(query, found[:PAGE_SIZE], has_next=len(found) > PAGE_SIZE)


def _filtered(query: WorklistQuery) -> "QuerySet[Any]":
    latest = InferenceJob.objects.filter(study=OuterRef("pk")).order_by("-id").values("id")[:1]
    top = Finding.objects.filter(job_id=OuterRef("latest_job"), label=OuterRef("top_label"))
    stopped = Q(reason_code=AI_STOPPED) | Q(warnings__contains=[{"code": AI_STOPPED}])
    studies: QuerySet[Any] = with_report_state(studies_with_status()).annotate(
        latest_job=Subquery(latest),
        top_threshold=Subquery(top.values("threshold")[:1]),
        ai_stopped=Exists(InferenceJob.objects.filter(stopped, pk=OuterRef("latest_job"))),
    )
    if query.status:
        wanted = {"waiting": WAITING, "attention": ATTENTION}.get(query.status, (query.status,))
        studies = studies.filter(status__in=wanted)
    if query.flagged or query.label:
        studies = studies.filter(status=JobState.COMPLETE, positive_count__gt=0)
    if query.label:
        flagged = Finding.objects.filter(job_id=OuterRef("latest_job"), label=query.label, positive=True)
        studies = studies.filter(Exists(flagged))
    if query.report == "signed":
        studies = studies.filter(report_status__in=[ReportStatus.FINAL, ReportStatus.AMENDED])
    elif query.report == NEW_IMAGES:
        studies = studies.filter(has_new_images=True)
    elif query.report:
        studies = studies.filter(report_status=query.report)
    if query.conflict:
        studies = studies.filter(demographics_conflict=True)
    return _matching(_arrived(studies, query), query.text)


def _arrived(studies: "QuerySet[Any]", query: WorklistQuery) -> "QuerySet[Any]":
    if query.since:
        studies = studies.filter(received__gte=_midnight(query.since))
    if query.until:
        studies = studies.filter(received__lt=_midnight(query.until + datetime.timedelta(days=1)))
    return studies


def _midnight(day: datetime.date) -> datetime.datetime:
    return timezone.make_aware(datetime.datetime.combine(day, datetime.time.min))


def _matching(studies: "QuerySet[Any]", text: str) -> "QuerySet[Any]":
    """Every search term must occur in a component group of the name, in the patient ID or in the accession number."""
    text = unicodedata.normalize("NFC", text)
    for term in text.translate(_SEPARATORS).split():
        studies = studies.filter(
            Q(patient_name__icontains=term)
            | Q(patient__patient_id__icontains=term)
            | Q(accession_number__icontains=term)
        )
    return studies


def _sorted(studies: "QuerySet[Any]", sort: str) -> "QuerySet[Any]":
    if sort == "oldest":
        return studies.order_by("received", "id")
    if sort == BY_FINDING:
        # Flagged studies come first: the probability of a finding that was not flagged is not a reason for priority.
        return studies.order_by(
            Case(When(positive_count__gt=0, then=0), default=1),
            F("top_probability").desc(nulls_last=True),
            "-received",
            "-id",
        )
    if sort == "status":
        return studies.order_by("status", "-received", "-id")
    return studies

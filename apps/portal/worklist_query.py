"""The filters of the worklist, as the address and the session have them."""

import datetime
from dataclasses import dataclass, replace
from typing import ClassVar
from uuid import UUID

from django.http import QueryDict
from django.utils.functional import Promise
from django.utils.http import urlencode
from django.utils.translation import gettext_lazy as _

from apps.core.work_queue import JobState
from apps.reading.order import BY_STATUS, NEWEST, OLDEST, URGENT
from apps.registry import engine
from apps.reports.models import ReportStatus

SEARCH_KEY = "worklist_search"
LIST_KEY = "worklist_address"
LONGEST_SEARCH = 100
LONGEST_CURSOR = 400

Choices = dict[str, str | Promise]
NOT_SIGNED = str(ReportStatus.PRELIMINARY)
NEW_IMAGES = "new-images"
STATUS_CHOICES: Choices = {
    "": _("Any status"),
    "waiting": _("Waiting"),
    str(JobState.COMPLETE): _("Read by AI"),
    str(JobState.REJECTED): _("Not read"),
    str(JobState.FAILED): _("Failed"),
    "attention": _("Not read or failed"),
}
SORT_CHOICES: Choices = {
    URGENT: _("Most urgent first"),
    NEWEST: _("Newest first"),
    OLDEST: _("Oldest first"),
    BY_STATUS: _("Status"),
}
REPORT_CHOICES: Choices = {
    "": _("Any report"),
    NOT_SIGNED: _("To sign"),
    "signed": _("Signed"),
    NEW_IMAGES: _("New images since the signature"),
}
MINE, UNASSIGNED = "me", "none"
ASSIGNED_CHOICES: Choices = {
    "": _("Anybody"),
    MINE: _("Me"),
    UNASSIGNED: _("Not assigned"),
}


@dataclass(frozen=True)
class WorklistQuery:
    """The filters of the worklist. ``text`` may name a patient, so it is never part of a URL.

    ``cursor`` is the place in the list where the page begins; ``with_order`` says whether the user may see what the AI
    puts first.
    """

    IN_ADDRESS: ClassVar = (
        "status", "flagged", "label", "report", "conflict", "assigned", "unread", "since", "until", "taken_since",
        "taken_until", "sort", "cursor",
    )  # fmt: skip

    status: str = ""
    flagged: bool = False
    label: str = ""
    report: str = ""
    conflict: bool = False
    assigned: str = ""
    unread: bool = False
    since: datetime.date | None = None
    until: datetime.date | None = None
    taken_since: datetime.date | None = None
    taken_until: datetime.date | None = None
    sort: str = ""
    cursor: str = ""
    text: str = ""
    with_order: bool = True

    @classmethod
    def read(cls, params: QueryDict, text: str, *, with_findings: bool, with_order: bool) -> "WorklistQuery":
        """Read the filters; an unknown value means no filter.

        Args:
            with_findings: whether the list shows findings to this user; otherwise filters by findings are ignored.
            with_order: whether this user may see the order by urgency.
        """
        query = cls(
            status=_known(params.get("status", ""), STATUS_CHOICES),
            flagged=params.get("flagged") == "1",
            label=_known(params.get("label", ""), engine.LABELS),
            report=_known(params.get("report", ""), REPORT_CHOICES),
            conflict=params.get("conflict") == "1",
            assigned=_assigned(params.get("assigned", "")),
            unread=params.get("unread") == "1",
            since=_date(params.get("since", "")),
            until=_date(params.get("until", "")),
            taken_since=_date(params.get("taken_since", "")),
            taken_until=_date(params.get("taken_until", "")),
            sort=_known(params.get("sort", ""), SORT_CHOICES),
            cursor=params.get("cursor", "")[:LONGEST_CURSOR],
            text=text,
            with_order=with_order,
        )
        if not with_order and query.sort == URGENT:
            query = replace(query, sort="")
        return query if with_findings else replace(query, flagged=False, label="")

    @property
    def order(self) -> str:
        """The order in force. Those who read begin with what is most urgent, all others with what came last."""
        return self.sort or (URGENT if self.with_order else NEWEST)

    @property
    def sort_choices(self) -> Choices:
        return {value: name for value, name in SORT_CHOICES.items() if self.with_order or value != URGENT}

    @property
    def address(self) -> str:
        """The query string of this view."""
        values = {name: getattr(self, name) for name in self.IN_ADDRESS}
        kept = {name: 1 if value is True else value for name, value in values.items() if value}
        return f"?{urlencode(kept)}" if kept else ""

    def at(self, cursor: str) -> "WorklistQuery":
        """The same list at another page; without a cursor at its first one."""
        return replace(self, cursor=cursor)

    @property
    def narrows(self) -> bool:
        """Whether any filter is set."""
        return replace(self, sort="", cursor="", with_order=True) != WorklistQuery()

    @property
    def is_plain(self) -> bool:
        """Whether no filter but the search is set."""
        return not replace(self, text="").narrows


def _known(value: str, choices: "Choices | tuple[str, ...]") -> str:
    return value if value in choices else ""


def _assigned(value: str) -> str:
    """One of the choices, or the id of a colleague."""
    if value in ASSIGNED_CHOICES:
        return value
    try:
        return str(UUID(value))
    except ValueError:
        return ""


def _date(value: str) -> datetime.date | None:
    try:
        return datetime.date.fromisoformat(value)
    except ValueError:
        return None

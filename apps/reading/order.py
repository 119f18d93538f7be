"""The orders of lists of studies, as segments that indexes of the rows for lists have.

"Most urgent first": what the AI says orders only the studies in the middle. A person's STAT comes first, then what has
waited longer than the tenant's cap. Ordering by AI alone makes the longest waits longer (pneumothorax: mean 80 to 36
minutes, maximum 890 to 1,293; with a cap 979; PMC8128725).
"""

import datetime
from typing import Any, Final
from uuid import UUID

from django.db.models import Case, IntegerField, Q, QuerySet, Value, When
from django.db.models.functions import Coalesce

from apps.core.paging import Keys, Segment, SortKey, moment
from apps.core.work_queue import JobState
from apps.inference.models import Priority
from apps.reading.models import STAT_REQUESTED, UNSIGNED, WAITING

URGENT, NEWEST, OLDEST, BY_STATUS = "urgent", "newest", "oldest", "status"
HIGH, FLAGGED, NOT_READ, NOTHING_FLAGGED = range(4)
"""The groups of the studies that the AI orders. A study that it did not read, or read in part, is not known to be
normal: it comes before those in which nothing is flagged."""
_AFTER_ALL = 1001
_FAR_BELOW = -1e9
_STATUS_ORDER = (JobState.FAILED, JobState.REJECTED, WAITING, JobState.COMPLETE)

_ID = SortKey("study_id", UUID)
_LAST_ID = SortKey("study_id", UUID, descending=True)
_LONGEST_WAIT: Final = (SortKey("received", moment), _ID)
_LATEST: Final = (SortKey("received", moment, descending=True), _LAST_ID)
_BY_FINDING: Final = (SortKey("place", int), SortKey("above", float, descending=True), *_LONGEST_WAIT)
ORDERS: Final[dict[str, tuple[Keys, ...]]] = {
    URGENT: (_BY_FINDING, _LONGEST_WAIT, (SortKey("group", int), *_BY_FINDING), _LATEST, _LATEST),
    NEWEST: (_LATEST,),
    OLDEST: (_LONGEST_WAIT,),
    BY_STATUS: (_LATEST,) * len(_STATUS_ORDER),
}
"""The sort keys of each segment of an order."""


def in_order(
    entries: "QuerySet[Any]", order: str, *, as_of: datetime.datetime, waiting_cap: int
) -> tuple[Segment, ...]:
    """The segments of worklist entries in one of ``ORDERS``.

    Args:
        as_of: when the first page was read, so that a wait that ends meanwhile shifts no page.
        waiting_cap: minutes after which a study that is not signed is overdue.
    """
    if order == URGENT:
        rows = _by_urgency(entries, overdue_before=as_of - datetime.timedelta(minutes=waiting_cap))
    elif order == BY_STATUS:
        rows = [entries.filter(status=status) for status in _STATUS_ORDER]
    else:
        rows = [entries]
    return tuple(Segment(each, keys) for each, keys in zip(rows, ORDERS[order], strict=True))


def _by_urgency(entries: "QuerySet[Any]", *, overdue_before: datetime.datetime) -> list["QuerySet[Any]"]:
    """STAT; overdue; what the AI orders; signed, with images since; signed."""
    unsigned = entries.filter(UNSIGNED).annotate(
        effective_priority=Coalesce("chosen_priority", "requested_priority"),
        place=Coalesce("urgency", Value(_AFTER_ALL)),
        above=Coalesce("margin", Value(_FAR_BELOW)),
    )
    not_stat = unsigned.filter(effective_priority__lt=Priority.STAT)
    ranked = not_stat.annotate(
        group=Case(
            When(effective_priority=Priority.HIGH, then=Value(HIGH)),
            When(urgency__isnull=False, then=Value(FLAGGED)),
            When(~Q(status=JobState.COMPLETE) | Q(is_partly_read=True), then=Value(NOT_READ)),
            default=Value(NOTHING_FLAGGED),
            output_field=IntegerField(),
        )
    )
    return [
        # The index has the studies for which somebody asked; the rest of the condition leaves out those lowered since.
        unsigned.filter(STAT_REQUESTED, effective_priority__gte=Priority.STAT),
        not_stat.filter(received__lt=overdue_before),
        ranked.filter(received__gte=overdue_before),
        entries.filter(~UNSIGNED, has_new_images=True),
        entries.filter(~UNSIGNED, has_new_images=False),
    ]

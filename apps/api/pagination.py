"""Cursor pagination: a cursor contains the last row of a page, so that new studies do not shift the pages."""

import datetime
from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from apps.core.errors import InvalidInputError
from apps.core.paging import Cursor, Segment, SortKey, slice_of
from apps.reading.order import NEWEST, OLDEST, ORDERS

# No order here depends on when the first page was read, and the ETag of a page must not change with the time.
_AS_OF = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_BY_TIME = {"-received": NEWEST, "received": OLDEST}
# Of these columns some rows have no value: they come last where the highest is first, and first where it is last.
_OPTIONAL: dict[str, Callable[[Any], Any]] = {"study_date": datetime.date.fromisoformat, "top_probability": float}


def page_of(entries: "QuerySet[Any]", *, ordering: str, size: int, cursor: str | None) -> tuple[list[UUID], str | None]:
    """The studies of one page of worklist entries, and the cursor of the next; None on the last.

    Raises:
        InvalidInputError: the cursor is not one of this ordering.
    """
    segments = _segments(entries, ordering)
    place = Cursor.decode(cursor, ordering, [each.keys for each in segments]) if cursor is not None else None
    if cursor is not None and place is None:
        raise InvalidInputError(
            "This cursor is not valid here: start without one, then follow `next` as it is given.", "cursor-invalid"
        )
    found = slice_of(segments, order=ordering, size=size, cursor=place, as_of=_AS_OF)
    return found.ids, found.following.encode() if found.following is not None else None


def _segments(entries: "QuerySet[Any]", ordering: str) -> list[Segment]:
    if ordering in _BY_TIME:
        return [Segment(entries, keys) for keys in ORDERS[_BY_TIME[ordering]]]
    name, is_descending = ordering.lstrip("-"), ordering.startswith("-")
    last = SortKey("study_id", UUID, is_descending)
    by_value = (SortKey(name, _OPTIONAL[name], is_descending), last)
    known = Segment(entries.filter(**{f"{name}__isnull": False}), by_value)
    unknown = Segment(entries.filter(**{f"{name}__isnull": True}), (last,))
    return [known, unknown] if is_descending else [unknown, known]

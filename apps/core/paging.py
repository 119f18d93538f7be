"""Pages of a list by cursors: a cursor holds the sort keys of a row, so that no page reads the rows before it."""

import base64
import binascii
import datetime
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from django.db.models import F, Q, QuerySet
from django.utils.dateparse import parse_datetime


def moment(value: Any) -> datetime.datetime:
    """A time as a cursor has it; raises ValueError or TypeError where it is none."""
    found = parse_datetime(value)
    if found is None or found.tzinfo is None:
        raise ValueError("This is no time with a zone.")
    return found


@dataclass(frozen=True)
class SortKey:
    """A column, or an annotation, that is never null in its segment; the last key of an order is unique.

    ``read`` makes a value of what a cursor has, and raises ValueError or TypeError where that is none.
    """

    name: str
    read: Callable[[Any], Any]
    descending: bool = False

    @staticmethod
    def written(value: Any) -> Any:
        if isinstance(value, datetime.date):
            return value.isoformat()
        return value.hex if isinstance(value, UUID) else value


Keys = tuple[SortKey, ...]


@dataclass(frozen=True)
class Segment:
    """Rows that stand together in a list, by keys that an index has.

    A list is one segment after another. One order over all rows, by a computed group, would sort all of them for each
    page; a page of segments reads only its own rows.
    """

    rows: "QuerySet[Any]"
    keys: Keys


@dataclass(frozen=True)
class Cursor:
    """A place in a list: the page after a row, or the one before it.

    ``number`` is that of the page's first row. ``as_of`` is when the first page was read, for orders that depend on it.
    """

    values: tuple[Any, ...]
    is_before: bool
    number: int
    as_of: datetime.datetime
    order: str = ""
    segment: int = 0

    def encode(self) -> str:
        values = map(SortKey.written, self.values)
        parts = [self.order, self.segment, int(self.is_before), self.number, self.as_of.isoformat(), *values]
        return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str, order: str, keys: Sequence[Keys]) -> "Cursor | None":
        """None where the text is no cursor of this order.

        Args:
            keys: those of each segment of the order.
        """
        try:
            made_for, segment, is_before, number, as_of, *values = json.loads(base64.urlsafe_b64decode(text + "=="))
            if made_for != order or not 0 <= segment < len(keys):
                return None
            found = tuple(key.read(value) for key, value in zip(keys[segment], values, strict=True))
            return cls(found, bool(is_before), max(int(number), 1), moment(as_of), order, segment)
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError, binascii.Error):
            return None


def beyond(keys: Keys, values: Sequence[Any], *, backwards: bool = False) -> Q:
    """The condition for the rows after a row, or before it."""
    found = Q()
    equal = Q()
    for key, value in zip(keys, values, strict=True):
        side = "lt" if key.descending != backwards else "gt"
        found |= equal & Q(**{f"{key.name}__{side}": value})
        equal &= Q(**{key.name: value})
    # The alternatives say this as well, but only so does an index begin at the row.
    first = keys[0]
    side = "lte" if first.descending != backwards else "gte"
    return Q(**{f"{first.name}__{side}": values[0]}) & found


def ordered(rows: "QuerySet[Any]", keys: Keys, *, backwards: bool = False) -> "QuerySet[Any]":
    """The rows in the order of the keys, or against it."""
    by = [F(key.name).desc() if key.descending != backwards else F(key.name).asc() for key in keys]
    return rows.order_by(*by)


def first_of(segments: Sequence[Segment]) -> Any:
    """The first row of a list, or None."""
    return next((row for each in segments if (row := ordered(each.rows, each.keys).first()) is not None), None)


@dataclass(frozen=True)
class Slice:
    """The primary keys of one page in their order, and the cursors of its neighbours."""

    ids: list[UUID]
    number: int
    following: Cursor | None
    previous: Cursor | None


def slice_of(
    segments: Sequence[Segment], *, order: str, size: int, cursor: Cursor | None, as_of: datetime.datetime
) -> Slice:
    """Read one page. One row more is read to know whether there is another page, which is cheaper than a count."""
    backwards = cursor is not None and cursor.is_before
    # Each row with the place of its segment: (place, primary key, values of the sort keys).
    found: list[tuple[int, UUID, tuple[Any, ...]]] = []
    for place in _places(len(segments), cursor):
        rows, keys = segments[place].rows, segments[place].keys
        if cursor is not None and place == cursor.segment:
            rows = rows.filter(beyond(keys, cursor.values, backwards=backwards))
        named = ordered(rows, keys, backwards=backwards).values_list("pk", *[key.name for key in keys])
        found += [(place, row[0], row[1:]) for row in named[: size + 1 - len(found)]]
        if len(found) > size:
            break
    has_more, page = len(found) > size, found[:size]
    if backwards:
        page.reverse()
    number = cursor.number if cursor is not None else 1
    if not page:
        return Slice([], number, None, None)
    (first, _, at_first), (last, _, at_last) = page[0], page[-1]
    following = Cursor(at_last, False, number + len(page), as_of, order, last)
    previous = replace(following, values=at_first, is_before=True, number=max(number - size, 1), segment=first)
    return Slice(
        [pk for _, pk, _ in page],
        number,
        following if has_more or backwards else None,
        previous if (has_more if backwards else cursor is not None) else None,
    )


def _places(count: int, cursor: Cursor | None) -> range:
    """The segments that the page may have rows of, in the direction of reading."""
    if cursor is None:
        return range(count)
    return range(cursor.segment, -1, -1) if cursor.is_before else range(cursor.segment, count)

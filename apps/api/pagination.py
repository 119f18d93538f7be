"""Cursor pagination: a cursor contains the last row of a page, so that new studies do not shift the pages."""

import base64
import binascii
import datetime
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import DateField, F, FloatField, Q, QuerySet, Value
from django.db.models.functions import Coalesce
from django.utils.dateparse import parse_datetime

from apps.core.errors import InvalidInputError
from apps.studies.models import Study

_NO_DATE = datetime.date(1, 1, 1)


@dataclass(frozen=True)
class _SortKey:
    """A sort column that is never null, and the parser of its values in a cursor."""

    expression: Any
    parse: Callable[[Any], Any]


def _moment(text: str) -> datetime.datetime:
    moment = parse_datetime(text)
    if moment is None:
        raise ValueError
    return moment


_SORT_KEYS = {
    "received": _SortKey(F("received"), _moment),
    "study_date": _SortKey(
        Coalesce("study_date", Value(_NO_DATE), output_field=DateField()), datetime.date.fromisoformat
    ),
    "top_probability": _SortKey(Coalesce("top_probability", Value(-1.0), output_field=FloatField()), float),
}


def page_of(
    studies: "QuerySet[Study]", *, ordering: str, size: int, cursor: str | None
) -> tuple[list[Study], str | None]:
    """One page of studies, and the cursor of the next; None on the last.

    Raises:
        InvalidInputError: the cursor is not one of this ordering.
    """
    key = _SORT_KEYS[ordering.lstrip("-")]
    sign = "-" if ordering.startswith("-") else ""
    rows = studies.annotate(sort_key=key.expression).order_by(f"{sign}sort_key", f"{sign}id")
    if cursor is not None:
        value, last_id = _decode(cursor, ordering, key)
        beyond = "lt" if sign else "gt"
        rows = rows.filter(Q(**{f"sort_key__{beyond}": value}) | Q(**{"sort_key": value, f"id__{beyond}": last_id}))
    found = list(rows[: size + 1])
    page: list[Study] = found[:size]  # type: ignore[assignment]
    return page, _encode(page[-1], ordering) if len(found) > size else None


def _encode(last: Study, ordering: str) -> str:
    value = last.sort_key  # type: ignore[attr-defined]
    text = value.isoformat() if isinstance(value, datetime.date) else value
    return base64.urlsafe_b64encode(json.dumps([ordering, text, last.pk.hex]).encode()).decode().rstrip("=")


def _decode(cursor: str, ordering: str, key: _SortKey) -> tuple[Any, UUID]:
    try:
        made_for, value, last_id = json.loads(base64.urlsafe_b64decode(cursor + "=="))
        if made_for != ordering:
            raise ValueError
        return key.parse(value), UUID(hex=last_id)
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError, binascii.Error) as error:
        raise InvalidInputError(
            "This cursor is not valid here: start without one, then follow `next` as it is given.", "cursor-invalid"
        ) from error

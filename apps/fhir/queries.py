"""Reads the query of a search: which studies or findings it means, how many, and from where."""

import re
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

from django.db.models import Q, QuerySet
from django.http import QueryDict

from apps.core.encryption import SecretLostError, decrypt, encrypt
from apps.core.errors import InvalidInputError
from apps.fhir.searches import PARAMETERS, REFUSED, Parameter

DEFAULT_COUNT: Final = 50
MOST: Final = 200
_MOST_PARAMETERS: Final = 50
# Each value is a condition of the statement.
_MOST_VALUES: Final = 500
_COMMA = re.compile(r"(?<!\\),")
_LONGEST_VALUE: Final = 2000
# ``_summary`` and ``_total`` are used where they ask for a number of matches.
_COMMON: Final = frozenset({"_count", "_summary", "_total", "_format", "_pretty", "cursor"})
SEALED: Final = "search"
"""The parameter of a link that holds all others, encrypted."""
_SAFE_NAME = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass
class Query:
    """A search as it was understood.

    Attributes:
        condition: of all parameters together.
        count: the most matches of a page; 0 asks for their number alone.
        cursor: the last match of the page before.
        used: the parameters that were used, for the Bundle's link to itself.
        ignored: the names of those that are not known here.
    """

    condition: Q = field(default_factory=Q)
    count: int = DEFAULT_COUNT
    cursor: list[UUID] = field(default_factory=list)
    is_counted: bool = True
    used: list[tuple[str, str]] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)


def read_query(kind: str, given: QueryDict, *, is_strict: bool) -> Query:
    """Read the parameters of a search.

    Args:
        is_strict: an unknown parameter is an error (``Prefer: handling=strict``); else it is ignored and named.

    Raises:
        InvalidInputError: a parameter, its modifier or its value is not valid.
    """
    if len(given) > _MOST_PARAMETERS:
        raise InvalidInputError(f"A search may have {_MOST_PARAMETERS} parameters at most.", "too-many-parameters")
    if sum(len(_COMMA.split(value)) for _, values in given.lists() for value in values) > _MOST_VALUES:
        raise InvalidInputError(f"A search may have {_MOST_VALUES} values at most.", "too-many-values")
    query, known = Query(), _known(kind)
    for name, values in given.lists():
        base, _, modifier = name.partition(":")
        if name in _COMMON:
            query.used += [(name, values[-1])] if name != "cursor" else []
        elif name in known:
            _add(query, name, known[name].condition, values)
        elif base in known and modifier:
            condition = known[base].modifiers.get(modifier)
            if condition is None:
                raise InvalidInputError(f"The parameter {base} has no such modifier here.", "modifier-not-supported")
            _add(query, name, condition, values)
        elif base in REFUSED and kind != "Device":
            raise InvalidInputError(
                "Patients are contained in the resources and have no address here: search by patient.identifier.",
                "patient-by-identifier",
            )
        else:
            query.ignored.append(name if _SAFE_NAME.fullmatch(name) else "a parameter without a valid name")
    if query.ignored and is_strict:
        raise InvalidInputError(f"Not known here: {', '.join(query.ignored)}.", "parameter-unknown")
    _read_common(query, given)
    return query


def seal(query: Query, context: str) -> str:
    """The parameters of a search for a link that holds no identifier of a patient.

    Args:
        context: of whom and of what the search is; the value is worth nothing elsewhere.
    """
    return encrypt(urlencode(query.used), context=context)


def unsealed(given: QueryDict, context: str) -> QueryDict:
    """The parameters of a link whose search was sealed; others as they are.

    Raises:
        InvalidInputError: the link was not made here, or too long ago.
    """
    if SEALED not in given:
        return given
    try:
        text = decrypt(given.get(SEALED, ""), context=context)
    # The text is none of ours, or was made with a key that is no longer known.
    except (ValueError, SecretLostError):
        raise _no_cursor() from None
    found = QueryDict(text, mutable=True)
    found["cursor"] = given.get("cursor", "")
    return found


def _known(kind: str) -> dict[str, Parameter]:
    """The parameters of a resource under all their names."""
    found = dict(PARAMETERS[kind])
    return found | {other: each for each in PARAMETERS[kind].values() for other in each.other_names}


def _add(query: Query, name: str, condition: Any, values: list[str]) -> None:
    """Add the condition of a parameter: each time that it is given counts, and one of its values is enough."""
    for value in values:
        if not value.strip() or len(value) > _LONGEST_VALUE or _CONTROL.search(value):
            raise InvalidInputError(f"The value of {name} is empty, too long, or no text.", "value-invalid")
        any_of = Q()
        for each in _COMMA.split(value):
            any_of |= condition(each.replace(r"\,", ",").replace(r"\$", "$").strip())
        query.condition &= any_of
        query.used.append((name, value))


def _read_common(query: Query, given: QueryDict) -> None:
    count = given.get("_count", "")
    if count:
        if not re.fullmatch("[0-9]{1,9}", count):
            raise InvalidInputError("_count must be a whole number from 0 on.", "count-invalid")
        query.count = min(int(count), MOST)
    if given.get("_summary") == "count":
        query.count = 0
    query.is_counted = given.get("_total") != "none" or not query.count
    cursor = given.get("cursor")
    if cursor:
        try:
            query.cursor = [UUID(each) for each in cursor.split(".")]
        except ValueError:
            raise _no_cursor() from None


def page_of(rows: "QuerySet[Any]", query: Query, order: tuple[str, ...]) -> tuple[list[Any], bool]:
    """The rows after the query's cursor, the newest first, and whether there are more.

    Args:
        order: the columns that rows are ordered by, which together are unique.

    Raises:
        InvalidInputError: the cursor is not one of this search.
    """
    if query.cursor:
        if len(query.cursor) != len(order):
            raise _no_cursor()
        first, last = order[0], query.cursor[0]
        beyond = Q(**{f"{first}__lt": last})
        if len(order) > 1:
            beyond |= Q(**{first: last, f"{order[1]}__lt": query.cursor[1]})
        rows = rows.filter(beyond)
    found = list(rows.order_by(*(f"-{column}" for column in order))[: query.count + 1])
    return found[: query.count], len(found) > query.count


def _no_cursor() -> InvalidInputError:
    return InvalidInputError(
        "This cursor is not valid here: start without one, then follow the link `next` as it is given.",
        "cursor-invalid",
    )

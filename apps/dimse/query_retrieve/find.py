"""C-FIND as SCP (PS3.4 C.4.1): the search of QIDO-RS, with the patient level added."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from typing import Any, Final

from django.db import DatabaseError, InterfaceError
from pydicom.dataset import Dataset
from pydicom.uid import UID

from apps.audit.models import AuditEvent
from apps.audit.services import record
from apps.core.errors import InvalidInputError
from apps.dimse.query_retrieve.identifiers import (
    UNIQUE_KEYS,
    Identifier,
    QueryLevel,
    read_identifier,
    response_dataset,
)
from apps.dimse.requests import (
    CANCELLED,
    IDENTIFIER_MISMATCH,
    OUT_OF_RESOURCES,
    PENDING,
    PENDING_WITH_WARNING,
    PROCESSING_FAILURE,
    RefusedError,
    admit_request,
)
from apps.routing.selectors import Caller
from apps.studies.query.attributes import ATTRIBUTES, Level, can_match
from apps.studies.query.search import Page, Search, Values, search
from apps.tenants.scope import tenant_tx

logger = logging.getLogger(__name__)
MOST_MATCHES: Final = 10_000
"""The matches of one request; beyond them the answer ends with A700H."""
_PAGE: Final = 500
_LEVELS: Final = {
    QueryLevel.PATIENT: Level.STUDY,
    QueryLevel.STUDY: Level.STUDY,
    QueryLevel.SERIES: Level.SERIES,
    QueryLevel.IMAGE: Level.INSTANCE,
}
OF_A_PATIENT: Final = (
    "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex",
)  # fmt: skip


@dataclass(frozen=True)
class FindRequest:
    """A C-FIND request.

    Attributes:
        is_relational: whether relational queries are negotiated (PS3.4 C.5.1.1).
        in_database: runs a function in a thread that has a database connection.
        is_cancelled: whether a C-CANCEL has arrived.
    """

    caller: Caller
    sop_class_uid: str
    identifier: BytesIO | None
    syntax: UID
    is_relational: bool
    in_database: Callable[[Callable[[], Any]], Any]
    is_cancelled: Callable[[], bool]


def find(request: FindRequest) -> Iterator[tuple[int | Dataset, Dataset | None]]:
    """Status and identifier of each response but the last successful one, as pynetdicom's C-FIND expects them."""
    try:
        identifier = read_identifier(request.identifier, request.syntax, request.sop_class_uid)
        if not request.is_relational:
            identifier.require_parents()
        yield from _matches(request, identifier)
    except RefusedError as error:
        yield _failure(error.status, error.comment), None
    except InvalidInputError as error:
        # The detail names the attribute and never repeats its value.
        yield _failure(IDENTIFIER_MISMATCH, error.detail), None
    except (DatabaseError, InterfaceError) as error:
        logger.warning("A search was refused because the database did not answer: %s.", type(error).__name__)
        yield _failure(OUT_OF_RESOURCES, "Try again later."), None
    except Exception as error:
        # The message of another exception may contain patient data.
        logger.error("A search failed: %s.", type(error).__name__)
        yield _failure(PROCESSING_FAILURE, "The search failed."), None


def _matches(request: FindRequest, identifier: Identifier) -> Iterator[tuple[int | Dataset, Dataset | None]]:
    keywords, is_complete = _returned(identifier)
    status = PENDING if is_complete else PENDING_WITH_WARNING
    seen: set[tuple[str, ...]] = set()
    offset = 0
    while True:
        page = request.in_database(partial(_search, request.caller, identifier, keywords, offset))
        for values in page.rows:
            # A study that arrives meanwhile shifts the pages.
            key = _key(values, identifier.level)
            if key in seen:
                continue
            if request.is_cancelled():
                yield CANCELLED, None
                return
            if len(seen) >= MOST_MATCHES:
                yield _failure(OUT_OF_RESOURCES, f"More than {MOST_MATCHES} match: narrow the search."), None
                return
            seen.add(key)
            yield status, response_dataset(values, identifier, ae_title=request.caller.called, keywords=keywords)
        if not page.has_more:
            return
        offset += _PAGE


def _search(caller: Caller, identifier: Identifier, keywords: list[str], offset: int) -> Page:
    requester = admit_request(caller, to_read=True)
    wanted = Search(
        level=_LEVELS[identifier.level],
        keys={
            keyword: value for keyword, value in identifier.keys.items() if value and _is_matched(keyword, identifier)
        },
        limit=_PAGE,
        offset=offset,
        include=frozenset(keywords) | {"IssuerOfPatientID"},
    )
    with tenant_tx(requester.tenant.pk):
        page = search(wanted)
        record(
            action=AuditEvent.Action.STUDIES_SEARCHED,
            by=requester.by,
            operation="dimse:c-find",
            amount=len(page.rows),
        )
    return page


def _returned(identifier: Identifier) -> tuple[list[str], bool]:
    """The attributes of a response, and whether every key of the request is supported at this level."""
    level = _LEVELS[identifier.level]
    possible = OF_A_PATIENT if identifier.level is QueryLevel.PATIENT else tuple(ATTRIBUTES)
    asked = [each for each in possible if each in identifier.keys and ATTRIBUTES[each].level <= level]
    unique = [UNIQUE_KEYS[each] for each in (*identifier.parents, identifier.level)]
    is_complete = not identifier.has_unsupported and len(asked) == len(identifier.keys)
    is_complete = is_complete and all(
        _is_matched(keyword, identifier) for keyword, value in identifier.keys.items() if value
    )
    return list(dict.fromkeys([*unique, *asked])), is_complete


def _is_matched(keyword: str, identifier: Identifier) -> bool:
    if identifier.level is QueryLevel.PATIENT and keyword not in OF_A_PATIENT:
        return False
    return can_match(ATTRIBUTES[keyword], _LEVELS[identifier.level])


def _key(values: Values, level: QueryLevel) -> tuple[str, ...]:
    """What makes a match one of its own."""
    if level is QueryLevel.PATIENT:
        return str(values["PatientID"] or ""), str(values["IssuerOfPatientID"] or "")
    return (str(values[UNIQUE_KEYS[level]]),)


def _failure(status: int, comment: str) -> Dataset:
    failed = Dataset()
    failed.Status = status
    failed.ErrorComment = comment[:64]
    return failed

"""The lists that `benchmarks.scale` times: every filter, order, search and page of worklist, REST and QIDO-RS."""

import datetime
from collections.abc import Callable, Sized
from functools import partial
from uuid import UUID

from django.http import QueryDict
from rest_framework.renderers import JSONRenderer

from apps.api.filters import matching_entries, read_query
from apps.api.pagination import page_of
from apps.api.selectors import study_results
from apps.api.serializers import StudyPageSerializer
from apps.portal.worklist_page import list_state, next_entry, worklist_page
from apps.portal.worklist_query import REPORT_CHOICES, SORT_CHOICES, STATUS_CHOICES, WorklistQuery
from apps.reading.selectors import studies_in_order
from apps.registry import engine
from apps.studies.query.attributes import Level
from apps.studies.query.search import Search, search

Lists = dict[str, Callable[[], Sized]]
_REST = (
    "", "ordering=received", "ordering=-study_date", "ordering=study_date", "ordering=-top_probability",
    "ordering=top_probability", "page_size=200", "status=complete", "status=queued", "status=rejected",
    "status=received", "report_status=preliminary", "report_status=final", "report_status=amended", "label=Effusion",
    "label=Hernia", "label=Hernia&ordering=-top_probability", "label=Atelectasis", "positive=true", "positive=false",
    "label=Mass&min_probability=0.6", "label=Hernia&min_probability=0.99", "min_probability=0.95",
    "label=Mass&positive=false", "patient_id=P77", "patient_id=P77&issuer=X", "accession_number=ACC77",
    "patient_name=FAMILY77*", "patient_name=FAMILY77^GIVEN77", "patient_name=*GIVEN77",
    "patient_name=F*", "patient_name=NOBODY*", "birth_date=1950-01-01",
    "modality=DX", "modality=CR", "modality=MG", "demographics_conflict=true", "study_date_from=2020-01-01",
    "study_date=2020-01-01/2020-02-01", "study_instance_uid=2.25.0.77", "model_version=nothing:1",
    "label=Hernia&modality=CR&report_status=final",
)  # fmt: skip
_QIDO = {
    "the newest": {},
    "PatientID": {"PatientID": "P77"},
    "accession number": {"AccessionNumber": "ACC77"},
    "dates": {"StudyDate": "20200101-20200201"},
    "modality": {"ModalitiesInStudy": "DX"},
    "modality of nothing": {"ModalitiesInStudy": "MG"},
    "body part": {"BodyPartExamined": "CHEST"},
    "birth date": {"PatientBirthDate": "19500101"},
    "name": {"PatientName": "FAMILY77^GIVEN77"},
    "name with a wildcard at its end": {"PatientName": "FAMILY77*"},
    "name that all begin with": {"PatientName": "F*"},
    "name that none begins with": {"PatientName": "NOBODY*"},
    "birth dates": {"PatientBirthDate": "19500101-19500201"},
    "name with a wildcard at its beginning": {"PatientName": "*GIVEN77"},
    "description": {"StudyDescription": "Abdomen"},
}


def portal_lists(user_id: UUID) -> Lists:
    """Every filter, order and search of the worklist, and pages far behind the first one."""
    today = datetime.datetime.now(datetime.UTC).date()
    queries = {f"order {sort}": WorklistQuery(sort=sort) for sort in SORT_CHOICES}
    queries |= {f"status {each}": WorklistQuery(status=each) for each in STATUS_CHOICES if each}
    queries |= {f"report {each}": WorklistQuery(report=each) for each in REPORT_CHOICES if each}
    queries |= {f"label {each}": WorklistQuery(label=each) for each in engine.LABELS}
    queries |= {
        "flagged": WorklistQuery(flagged=True),
        "conflict": WorklistQuery(conflict=True),
        "mine": WorklistQuery(assigned="me"),
        "not opened": WorklistQuery(unread=True),
        "arrived today": WorklistQuery(since=today),
        "taken today": WorklistQuery(taken_since=today, taken_until=today),
        "search a name": WorklistQuery(text="family77"),
        "search an accession number": WorklistQuery(text="ACC9999"),
        "search nothing": WorklistQuery(text="a name that no patient has"),
        "search, newest, to sign": WorklistQuery(text="given9", sort="newest", report="preliminary"),
    }
    lists: Lists = {f"worklist {name}": partial(_worklist, query, user_id) for name, query in queries.items()}
    for sort in SORT_CHOICES:
        query = WorklistQuery(sort=sort)
        for _page in range(60):
            address = worklist_page(query, user_id=user_id).next_address
            query = query.at(address.rpartition("cursor=")[2]) if address else query
        lists[f"worklist page 61 of {sort}"] = partial(_worklist, query, user_id)
    lists["worklist poll without news"] = lambda: [list_state(WorklistQuery(), user_id=user_id)]
    lists["worklist next study"] = lambda: [next_entry(WorklistQuery(), user_id=user_id, after=None)]
    return lists


def _worklist(query: WorklistQuery, user_id: UUID) -> Sized:
    return worklist_page(query, user_id=user_id).rows


def rest_lists() -> Lists:
    """The filters and orders of ``GET /api/v1/studies/``, and a page far behind the first one."""
    lists: Lists = {f"REST {address or 'newest'}": partial(_rest, address) for address in _REST}
    for ordering in ("-received", "-study_date", "top_probability"):
        cursor: str | None = None
        for _page in range(40):
            query = read_query(QueryDict(f"ordering={ordering}&page_size=200"))
            _, cursor = page_of(matching_entries(query), ordering=ordering, size=200, cursor=cursor)
            if cursor is None:
                break
        else:
            lists[f"REST page 41 of {ordering}"] = partial(_rest, f"ordering={ordering}&cursor={cursor}")
    return lists


def _rest(address: str) -> Sized:
    query = read_query(QueryDict(address))
    ids, _ = page_of(
        matching_entries(query), ordering=query["ordering"], size=query["page_size"], cursor=query.get("cursor")
    )
    page = {"intended_use": "", "next": None, "results": study_results(studies_in_order(ids))}
    JSONRenderer().render(StudyPageSerializer(page).data)
    return ids


def qido_lists(number: int) -> Lists:
    """Searches for 50 studies; series and instances of one; and a page far behind the first one.

    Args:
        number: the tenant's place in the call that seeded it, which stands in its UIDs.
    """
    uid = {"StudyInstanceUID": f"2.25.{number}.77"}
    lists: Lists = {f"QIDO {name}": partial(_qido, Level.STUDY, keys) for name, keys in _QIDO.items()}
    lists["QIDO UID"] = partial(_qido, Level.STUDY, uid)
    lists["QIDO page 200"] = partial(_qido, Level.STUDY, {}, 10_000)
    lists["QIDO series"] = partial(_qido, Level.SERIES, {})
    lists["QIDO series of a modality"] = partial(_qido, Level.SERIES, {"Modality": "CR"})
    lists["QIDO instances"] = partial(_qido, Level.INSTANCE, {})
    lists["QIDO series of a study"] = partial(_qido, Level.SERIES, uid)
    return lists


def _qido(level: Level, keys: dict[str, str], offset: int = 0) -> Sized:
    return search(Search(level, keys, limit=50, offset=offset)).rows

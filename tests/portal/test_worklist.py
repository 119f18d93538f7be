"""The worklist: its contents, order and speed."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, connections
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.core.work_queue import JobState
from apps.inference.models import InferenceJob
from apps.inference.services import claim_jobs, reject_job
from apps.portal.worklist_page import PAGE_SIZE, worklist_page
from apps.portal.worklist_query import WorklistQuery
from apps.studies.models import Patient, Study
from apps.tenants.scope import tenant_tx
from tests.conftest import Hospital


@pytest.fixture
def client(north: Hospital, sign_in: Callable[..., Client]) -> Client:
    return sign_in(north, north.radiologist)


def names(response: Any) -> list[str]:
    return re.findall(r'class="open-study clip"[^>]*>([^<]*)<', response.text)


def test_an_empty_worklist_says_how_films_get_in(client: Client) -> None:
    page = client.get("/").text
    assert "No studies yet" in page
    assert "NORTH" in page
    assert "http://testserver/dicom-web/studies" in page


def test_one_line_has_what_a_reader_needs(client: Client, north: Hospital, read_study: Callable[..., Study]) -> None:
    read_study(north, {"patient_name": "DOE^Jane", "patient_id": "A-1", "accession_number": "ACC-9"}, Effusion=0.71)
    page = client.get("/").text
    for expected in ("DOE, Jane", "A-1", "ACC-9", "Read by AI", "Effusion", "71.0 %", "To sign"):
        assert expected in page


def test_a_refused_film_shows_its_reason_and_no_score(
    client: Client, north: Hospital, store_film: Callable[..., Any], version: Any
) -> None:
    store_film(north)
    (job,) = claim_jobs(limit=1, version=version, worker="test")
    with tenant_tx(north.tenant.id):
        reject_job(job=job, code="lateral-view", reason="This is a lateral film.", instances_seen=1)
    page = client.get("/").text
    assert "This is a lateral film." in page
    assert "Not read" in page
    assert " %<" not in page


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("/", ["A", "B", "C"]),
        ("/?sort=newest", ["C", "B", "A"]),
        ("/?sort=oldest", ["A", "B", "C"]),
        ("/?sort=status", ["C", "B", "A"]),
        ("/?flagged=1", ["A", "B"]),
        ("/?label=Mass", ["B"]),
        ("/?label=Effusion", ["A"]),
        ("/?status=waiting", ["C"]),
        ("/?status=complete", ["A", "B"]),
        ("/?status=failed", []),
        ("/?report=preliminary", ["A", "B"]),
        ("/?report=signed", []),
        ("/?until=2001-01-01", []),
        ("/?since=2001-01-01&sort=newest", ["C", "B", "A"]),
        ("/?taken_since=2001-01-01&taken_until=2001-12-31", []),
        ("/?taken_until=2001-12-31", []),
        ("/?taken_since=2001-01-01&sort=newest", ["C", "B", "A"]),
        ("/?status=nonsense&sort=--&cursor=x&since=2001-13-01", ["A", "B", "C"]),
    ],
)
def test_filters_and_orders(
    client: Client, north: Hospital, read_study: Callable[..., Study], store_film: Callable[..., Any],
    address: str, expected: list[str],
) -> None:  # fmt: skip
    read_study(north, {"seed": 1, "patient_name": "A"}, Effusion=0.4)
    read_study(north, {"seed": 2, "patient_name": "B"}, Mass=0.6)
    store_film(north, seed=3, patient_name="C")
    assert names(client.get(address)) == expected


def test_a_search_is_kept_out_of_the_address(client: Client, north: Hospital, store_film: Callable[..., Any]) -> None:
    store_film(
        north, seed=1, patient_name="DOE^Jane=山田^花子=ヤマダ^ハナコ", patient_id="A-1", accession_number="ACC-9"
    )
    store_film(north, seed=2, patient_name="MÜLLER^Ann", patient_id="A-2")
    for text, expected in {
        "doe": ["DOE, Jane"], "jane DOE": ["DOE, Jane"], "Doe, Jane": ["DOE, Jane"], "a-2": ["MÜLLER, Ann"],
        "acc-9": ["DOE, Jane"], "%": [], "\x00": ["DOE, Jane", "MÜLLER, Ann"], "jane müller": [],
        "müller": ["MÜLLER, Ann"], "山田": ["DOE, Jane"], "花子 a-1": ["DOE, Jane"], "ﾔﾏﾀﾞ": ["DOE, Jane"],
    }.items():  # fmt: skip
        response = client.post("/search/", {"text": text, "sort": ""})
        assert response["Location"] == "/", text
        assert names(client.get("/")) == expected, text
    assert client.post("/search/", {"text": "doe", "status": "waiting", "since": "2024-01-31"})["Location"] == (
        "/?status=waiting&since=2024-01-31"
    )


def test_another_hospital_sees_none_of_it(
    north: Hospital, south: Hospital, store_film: Callable[..., Any], sign_in: Callable[..., Client]
) -> None:
    store_film(north, patient_name="CANARY^Jane")
    assert "CANARY" not in sign_in(south, south.radiologist).get("/").text


def test_names_are_text(client: Client, north: Hospital, store_film: Callable[..., Any]) -> None:
    store_film(north, patient_name="<script>alert(1)</script>")
    page = client.get("/").text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


def test_the_table_alone_for_the_script(client: Client, north: Hospital, store_film: Callable[..., Any]) -> None:
    store_film(north, patient_name="DOE^Jane")
    response = client.get("/", headers={"X-Fragment": "1"})
    assert "<html" not in response.text
    assert names(response) == ["DOE, Jane"]
    assert response["Cache-Control"] == "private, no-store"


def test_a_search_works_with_every_tab(client: Client, north: Hospital, store_film: Callable[..., Any]) -> None:
    store_film(north, seed=1, patient_name="DOE^Jane")
    store_film(north, seed=2, patient_name="ROE^Ann")
    client.post("/search/", {"text": "doe"})
    for tab in ("", "status=waiting", "unread=1", "sort=newest"):
        assert names(client.get(f"/?{tab}")) == ["DOE, Jane"], tab
    for tab in ("flagged=1", "report=preliminary", "assigned=me", "status=attention", "conflict=1"):
        page = client.get(f"/?{tab}")
        assert names(page) == [], tab
        assert 'value="doe"' in page.text


@pytest.mark.long
def test_two_thousand_studies(north: Hospital, version: Any) -> None:
    """Every view of the worklist runs the same few queries, however many studies there are."""
    with tenant_tx(north.tenant.id):
        _many_studies(2_000, version)
    with connections["owner"].cursor() as cursor:
        cursor.execute("analyze")
    with tenant_tx(north.tenant.id):
        for name, query in {
            "most urgent": WorklistQuery(),
            "newest": WorklistQuery(sort="newest"),
            "status": WorklistQuery(sort="status"),
            "waiting": WorklistQuery(status="waiting"),
            "to sign": WorklistQuery(report="preliminary"),
            "search": WorklistQuery(text="patient 9"),
        }.items():
            with CaptureQueriesContext(connection) as queries:
                page = worklist_page(query, user_id=north.radiologist.pk)
            assert len(queries) <= 9, name
            assert len(page.rows) == PAGE_SIZE, name


def _many_studies(count: int, version: Any) -> None:
    patients = Patient.objects.bulk_create([Patient(patient_id=f"P{number}") for number in range(count)])
    studies = Study.objects.bulk_create(
        [
            Study(patient=patient, patient_name=f"PATIENT^{number}", study_instance_uid=f"2.25.{number}")
            for number, patient in enumerate(patients)
        ]
    )
    states = [JobState.COMPLETE] * 17 + [JobState.QUEUED, JobState.REJECTED, JobState.FAILED]
    InferenceJob.objects.bulk_create(
        [
            InferenceJob(
                study=study,
                state=states[number % 20],
                reason_code="test" if states[number % 20] in (JobState.REJECTED, JobState.FAILED) else "",
                model_version=version,
                top_label="Effusion",
                top_probability=(number % 997) / 997,
                positive_count=number % 3,
            )
            for number, study in enumerate(studies)
        ]
    )

"""The patient page: settling conflicts, moving, withdrawing and restoring studies, and undoing each."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from apps.core.work_queue import JobState
from apps.inference.leases import READINGS
from apps.inference.models import InferenceJob
from apps.inference.services import claim_jobs
from apps.reports.printed import differing_reports
from apps.reports.services import sign_report
from apps.studies.models import DemographicsConflict, Instance, Patient, Study
from apps.tenants.models import Membership
from apps.tenants.scope import tenant_tx
from tests.conftest import Hospital
from tests.studies.demographics import JANE, JOHN, film_of, send


@pytest.fixture
def client(north: Hospital, sign_in: Callable[..., Client]) -> Client:
    return sign_in(north, north.technologist)


def study_of(hospital: Hospital, name: str) -> Study:
    with tenant_tx(hospital.tenant.id):
        return Study.objects.select_related("patient").get(patient_name__startswith=name)


def page_of(study: Study) -> str:
    return f"/studies/{study.pk}/patient/"


def hidden(page: str, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]+)"', page)
    assert found, f"the page has no field {name}"
    return found[1]


def settle(client: Client, study: Study, settlement: str, belongs: list[int], **more: str) -> Any:
    page = client.get(page_of(study)).text
    return client.post(
        page_of(study),
        {
            "action": "settle", "conflict": hidden(page, "conflict"), "seen": hidden(page, "seen"),
            "settlement": settlement, "belongs": belongs, "reason": "asked the ward", **more,
        },
    )  # fmt: skip


def rest(hospital: Hospital, study: Study) -> Any:
    return Client().get(f"/api/v1/studies/{study.study_instance_uid}/", headers=hospital.bearer)


def listed(hospital: Hospital, **query: str) -> list[str]:
    answer = Client().get("/api/v1/studies/", query, headers=hospital.bearer)
    return sorted(each["patient"]["name"] for each in answer.json()["results"])


@pytest.fixture
def two_people(north: Hospital, make_film: Callable[..., Path]) -> tuple[Study, Study]:
    send(north, film_of(make_film, 1, **JOHN))
    send(north, film_of(make_film, 2, **JANE))
    return study_of(north, "Doe"), study_of(north, "Smith")


def test_two_people_under_one_id_are_told_apart_and_put_together_again(
    client: Client, north: Hospital, two_people: tuple[Study, Study], make_film: Callable[..., Path]
) -> None:
    john, jane = two_people
    assert listed(north, demographics_conflict="true") == ["Doe^John", "Smith^Jane"]
    assert listed(north, demographics_conflict="false") == []
    for page in (client.get("/").text, client.get(f"/studies/{john.pk}/").text, client.get("/patients/").text):
        assert "onflict" in page
        assert "Smith, Jane" in page
    assert "Doe, John" in client.get("/?conflict=1").text

    assert settle(client, john, "different-persons", [1, 2]).status_code == 302

    assert listed(north, demographics_conflict="true") == []
    assert study_of(north, "Doe").patient_id != study_of(north, "Smith").patient_id
    assert rest(north, jane).json()["patient"]["patient_id"] == "P-1"
    # The next study of either finds its person.
    assert not send(north, film_of(make_film, 3, **JANE)).in_conflict
    assert not send(north, film_of(make_film, 4, **JOHN)).in_conflict
    with tenant_tx(north.tenant.id):
        assert sorted(patient.studies.count() for patient in Patient.objects.all()) == [2, 2]
        conflict = DemographicsConflict.objects.get()

    client.post(page_of(jane), {"action": "reopen", "conflict": str(conflict.pk)})

    assert len(listed(north, demographics_conflict="true")) == 4
    with tenant_tx(north.tenant.id):
        assert {study.patient_id for study in Study.objects.all()} == {conflict.patient_id}
    assert "undone by" in client.get(page_of(jane)).text


def test_a_corrected_name_is_accepted_and_a_third_one_is_a_new_conflict(
    client: Client, north: Hospital, two_people: tuple[Study, Study], make_film: Callable[..., Path]
) -> None:
    john, _ = two_people
    assert settle(client, john, "same-person", [1, 1]).status_code == 302
    assert listed(north, demographics_conflict="true") == []
    assert not send(north, film_of(make_film, 3, **JANE)).in_conflict
    assert send(north, film_of(make_film, 4, **{**JOHN, "PatientName": "Roe^Jim"})).in_conflict


def test_a_decision_needs_a_reason_and_what_the_person_saw(
    client: Client, north: Hospital, south: Hospital, two_people: tuple[Study, Study], sign_in: Callable[..., Client],
    make_film: Callable[..., Path],
) -> None:  # fmt: skip
    john, _ = two_people
    assert settle(client, john, "same-person", [1, 1], reason=" ").status_code == 400
    assert settle(client, john, "different-persons", [1, 1]).status_code == 400
    assert settle(client, john, "same-person", [1, 1], seen="0" * 16).status_code == 409
    with tenant_tx(north.tenant.id):
        conflict = DemographicsConflict.objects.get(settled__isnull=True)
    # Another hospital's conflict does not exist.
    send(south, film_of(make_film, 1, **JOHN))
    other = sign_in(south, south.radiologist)
    own = study_of(south, "Doe")
    answer = other.post(page_of(own), {"action": "reopen", "conflict": str(conflict.pk)})
    assert answer.status_code == 404


def test_an_image_of_somebody_else_is_not_shown_until_a_person_says_whose_it_is(
    client: Client, north: Hospital, make_film: Callable[..., Path]
) -> None:
    send(north, film_of(make_film, 1, study="2.25.5", **JOHN))
    send(north, film_of(make_film, 2, study="2.25.5", PatientID="P-2", **JANE))
    study = study_of(north, "Doe")
    assert client.get(f"/studies/{study.pk}/film.png?image=2").status_code == 404

    # The second image is right, the first one is of another person.
    settle(client, study, "different-persons", [0, 1])

    with tenant_tx(north.tenant.id):
        assert [each.is_held for each in Instance.objects.order_by("received")] == [True, False]
    assert rest(north, study).json()["patient"] == {
        "name": "Smith^Jane", "patient_id": "P-2", "issuer": "", "birth_date": "1990-05-05", "sex": "F",
    }  # fmt: skip
    assert rest(north, study).json()["demographics_conflict"] is False

    with tenant_tx(north.tenant.id):
        decided = DemographicsConflict.objects.get(study=study.pk)
    client.post(page_of(study), {"action": "reopen", "conflict": str(decided.pk)})
    assert rest(north, study).json()["patient"]["name"] == "Doe^John"
    assert rest(north, study).json()["demographics_conflict"] is True


def test_a_study_is_moved_and_follows_its_images_again(
    client: Client, north: Hospital, two_people: tuple[Study, Study], make_film: Callable[..., Path]
) -> None:
    _, jane = two_people
    found = client.post(page_of(jane), {"action": "find", "patient_id": "P-9", "issuer": ""})
    assert "None yet" in found.text
    move = {"action": "move", "patient_id": "P-9", "issuer": "HIS", "keep": "on", "reason": "wrong worklist entry"}
    assert client.post(page_of(jane), {**move, "patient_id": "unknown"}).status_code == 400

    assert client.post(page_of(jane), move).status_code == 302

    patient = rest(north, jane).json()["patient"]
    assert (patient["name"], patient["patient_id"], patient["issuer"]) == ("Smith^Jane", "P-9", "HIS")
    assert listed(north, demographics_conflict="true") == []
    assert "set by a person" in client.get(page_of(jane)).text
    # Later images of the study do not take it back.
    send(north, film_of(make_film, 3, study=jane.study_instance_uid, **JANE))
    assert rest(north, jane).json()["patient"]["patient_id"] == "P-9"

    client.post(page_of(jane), {"action": "follow", "reason": "it was right"})
    assert rest(north, jane).json()["patient"]["patient_id"] == "P-1"
    assert len(listed(north, demographics_conflict="true")) == 2


def test_a_signed_report_that_names_somebody_else_is_listed(
    client: Client, north: Hospital, read_study: Callable[..., Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = read_study(north, {"patient_name": "Doe^John", "patient_id": "P-1"}, Effusion=0.7)
    with tenant_tx(north.tenant.id):
        membership = Membership.objects.get(user=north.radiologist)
        sign_report(study=study, user=north.radiologist, membership=membership, impression="Effusion.", agree_rest=True)
        with monkeypatch.context() as patched:
            # Equal reports are not even read: a hospital has any number of them.
            patched.setattr("apps.reports.printed.patient_of", None)
            assert list(differing_reports()) == []
    chosen = {"name": "Doe^Jim", "birth_date": "1950-01-01", "sex": "M"}
    client.post(page_of(study), {"action": "move", "patient_id": "P-2", "issuer": "", "reason": "mixed up", **chosen})
    with tenant_tx(north.tenant.id):
        (difference,) = differing_reports()
    assert (difference.printed["name"], difference.current["name"]) == ("Doe^John", "Doe^Jim")
    assert "Doe^Jim" in client.get("/patients/").text


def test_a_withdrawn_study_is_gone_until_it_is_restored(
    client: Client, north: Hospital, two_people: tuple[Study, Study], version: Any, make_film: Callable[..., Path]
) -> None:
    john, _ = two_people
    (held, *_) = claim_jobs(limit=2, version=version, worker="test")
    assert client.post(page_of(john), {"action": "withdraw", "reason": ""}).status_code == 400

    client.post(page_of(john), {"action": "withdraw", "reason": "sent twice"})

    assert listed(north) == ["Smith^Jane"]
    assert listed(north, demographics_conflict="true") == []
    answer = rest(north, john)
    assert (answer.status_code, answer.json()["code"]) == (410, "study-withdrawn")
    assert "Doe, John" not in client.get("/").text
    shown = client.get(f"/studies/{john.pk}/", follow=True).text
    assert "sent twice" in shown
    assert client.get(f"/studies/{john.pk}/film.png").status_code == 410
    with tenant_tx(north.tenant.id):
        job = InferenceJob.objects.get(study=john)
        assert (job.state, job.reason_code) == (JobState.REJECTED, "study-withdrawn")
        assert not READINGS.held(held).exists(), "Its worker writes nothing any more."
    # An image that comes now is stored and not read.
    assert send(north, film_of(make_film, 7, study=john.study_instance_uid, **JOHN)).is_withdrawn
    with tenant_tx(north.tenant.id):
        assert InferenceJob.objects.filter(study=john).count() == 1

    client.post(page_of(john), {"action": "restore"})

    assert listed(north, demographics_conflict="true") == ["Doe^John", "Smith^Jane"]
    assert rest(north, john).json()["status"] == "queued"


def test_a_placeholder_of_the_hospital_separates_what_it_put_together(
    north: Hospital, south: Hospital, two_people: tuple[Study, Study], sign_in: Callable[..., Client],
    make_film: Callable[..., Path],
) -> None:  # fmt: skip
    for seed, person in enumerate((JOHN, JANE), start=1):
        send(south, film_of(make_film, seed, **person))
    admin = sign_in(north, north.admin)
    assert admin.post("/settings/placeholders/", {"value": "unknown"}).status_code == 200
    assert admin.post("/settings/placeholders/", {"value": "p 1"}).status_code == 302
    assert listed(north, demographics_conflict="true") == []
    assert len(listed(south, demographics_conflict="true")) == 2
    assert not send(north, film_of(make_film, 3, PatientName="Roe^Jim")).in_conflict
    page = admin.get("/settings/placeholders/").text
    assert admin.post("/settings/placeholders/", {"remove": hidden(page, "remove")}).status_code == 302

"""Searches by FHIR R4's rules: what is found, what is ignored, what is refused, and pages."""

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.studies.models import Patient
from apps.tenants.scope import tenant_tx
from tests.conftest import Hospital
from tests.fhir.validation import validate
from tests.studies import objects

UID_SYSTEM = "urn:dicom:uid"
ACSN = "http://terminology.hl7.org/CodeSystem/v2-0203|ACSN"


@pytest.fixture
def two(north: Hospital, store_film: Callable[..., Any], read: Callable[..., None]) -> list[Any]:
    """Two studies of two patients, of which the first was read."""
    first = store_film(north, seed=1, size=256, patient_id="P|1", accession_number="A1", study_date="20240131")
    with tenant_tx(north.tenant.id):
        Patient.objects.update(issuer_of_patient_id="1.2.3")
    read(first.instance, Effusion=0.9)
    second = store_film(north, seed=2, size=256, patient_id="P2", accession_number="A2", study_date="20240201")
    return [first.study, second.study]


def ids(bundle: Any) -> list[str]:
    found = [each for each in bundle.get("entry", ()) if each["search"]["mode"] == "match"]
    assert all(
        each["fullUrl"].endswith(f"{each['resource']['resourceType']}/{each['resource']['id']}") for each in found
    )
    return [each["resource"]["id"] for each in found]


def test_studies_and_reports_are_found(north: Hospital, two: list[Any], ask: Any) -> None:
    one, other = (str(study.pk) for study in two)
    uid = two[0].study_instance_uid
    for parameter, value, expected in (
        ("identifier", f"{UID_SYSTEM}|urn:oid:{uid}", [one]),
        ("identifier", f"urn:oid:{uid}", [one]),
        ("identifier", "A1", [one]),
        ("identifier", "|A1,|A2", [other, one]),
        ("identifier", "http://elsewhere|A1", []),
        ("identifier:of-type", f"{ACSN}|A2", [other]),
        ("patient.identifier", r"P\|1", [one]),
        ("subject:identifier", r"urn:oid:1.2.3|P\|1", [one]),
        ("subject.identifier", r"urn:oid:1.2.4|P\|1", []),
        ("patient.identifier", "P", []),
        ("started", "2024-01", [one]),
        ("started", "gt2024-01-31", [other]),
        ("started", "ge2024-01-31", [other, one]),
        ("started", "lt2024-02", [one]),
        ("started", "ne2024-01-31", [other]),
        ("modality", "DX", [other, one]),
        ("modality", "http://dicom.nema.org/resources/ontology/DCM|CT", []),
        ("status", "available", [other, one]),
        ("status", "cancelled", []),
        ("_id", one, [one]),
        ("_id", "no-uuid", []),
    ):
        found = ask(north, "ImagingStudy", **{parameter: value})
        assert (ids(found), found["total"]) == (expected, len(expected)), (parameter, value)
    both = ask(north, "ImagingStudy", started=["ge2024-01-01", "le2024-01-31"], modality="DX")
    assert ids(both) == [one]
    for parameter, value, expected in (
        ("identifier", "A1", [one]),
        ("status", "preliminary", [one]),
        ("status", "registered", [other]),
        ("status", "final,amended", []),
        ("date", "2024-02-01", [other]),
        ("patient.identifier", "P2", [other]),
    ):
        assert ids(ask(north, "DiagnosticReport", **{parameter: value})) == expected, (parameter, value)


def test_observations_and_devices_are_found(north: Hospital, two: list[Any], version: Any, ask: Any) -> None:
    study = str(two[0].pk)
    assert ask(north, "Observation", _summary="count")["total"] == 14
    for parameters, number in (
        ({"code": "http://snomed.info/sct|60046008"}, 1),
        ({"code": "60046008,8186001"}, 2),
        ({"code": "pleural-thick"}, 1),
        ({"code": "http://loinc.org|60046008"}, 0),
        ({"derived-from": f"http://testserver/fhir/ImagingStudy/{study}"}, 14),
        ({"derived-from": f"Patient/{study}"}, 0),
        ({"patient.identifier": "P2"}, 0),
        ({"date": "2024", "status": "preliminary"}, 14),
        ({"status": "final"}, 0),
        ({"device": f"Device/{version.pk}"}, 14),
    ):
        assert len(ids(ask(north, "Observation", **parameters))) == number, parameters
    assert ids(ask(north, "Device")) == [str(version.pk)]
    assert ids(ask(north, "Device", identifier=f"{UID_SYSTEM}|urn:oid:{version.device_uid}")) == [str(version.pk)]


def test_what_is_not_known_is_ignored_and_named(north: Hospital, two: list[Any], ask: Any) -> None:
    found = ask(north, "ImagingStudy", colour="blue", _sort="-started", identifier="A1")
    assert ids(found) == [str(two[0].pk)]
    outcome = found["entry"][-1]
    assert outcome["search"]["mode"] == "outcome"
    assert "colour, _sort" in outcome["resource"]["issue"][0]["details"]["text"]
    self_link = found["link"][0]["url"]
    assert parse_qs(urlsplit(self_link).query) == {"identifier": ["A1"]}
    strict = ask(north, "ImagingStudy", expected=400, headers={"prefer": "handling=strict"}, colour="blue")
    assert strict["issue"][0]["code"] == "invalid"
    assert "colour" in strict["issue"][0]["details"]["text"]


def test_what_is_not_valid_is_refused(north: Hospital, ask: Any) -> None:
    for kind, parameter, value in (
        ("ImagingStudy", "started", "yesterday"),
        ("ImagingStudy", "started", "2024-02-30"),
        ("ImagingStudy", "started:missing", "true"),
        ("ImagingStudy", "identifier", ""),
        ("ImagingStudy", "identifier", "A\x011"),
        ("ImagingStudy", "identifier:of-type", "ACSN"),
        ("ImagingStudy", "patient.identifier", "urn:oid:1.2|"),
        # To ignore it would give the reports of all patients.
        ("DiagnosticReport", "patient", "Patient/1"),
        ("Observation", "subject", "1"),
        ("ImagingStudy", "_count", "many"),
        ("ImagingStudy", "cursor", "1"),
        ("ImagingStudy", "identifier", "1," * 501),
        ("Observation", "cursor", "0190a5c0-0000-7000-8000-000000000000"),
    ):
        refused = ask(north, kind, expected=400, **{parameter: value})
        assert refused["resourceType"] == "OperationOutcome", (parameter, value)


def test_a_search_is_posted_as_a_form(north: Hospital, two: list[Any]) -> None:
    client = Client(headers=north.bearer)
    refused = client.post("/fhir/ImagingStudy/_search", {"identifier": "A2"}, content_type="application/json")
    assert refused.status_code == 415
    form = "application/x-www-form-urlencoded"
    found = client.post("/fhir/ImagingStudy/_search?_count=1", "identifier=A2", content_type=form)
    assert ids(validate(found.json())) == [str(two[1].pk)]


def test_the_pages_of_a_posted_search_have_no_patient_in_their_address(
    north: Hospital, south: Hospital, send: Any
) -> None:
    for number in range(4):
        send(north, objects.image(f"1.2.{number}", patient_id="SECRET-1" if number < 3 else "OTHER"))
    client = Client(headers=north.bearer)
    page = client.post(
        "/fhir/ImagingStudy/_search",
        "patient.identifier=SECRET-1&_count=1",
        content_type="application/x-www-form-urlencoded",
    ).json()
    seen, addresses = ids(page), []
    while following := {each["relation"]: each["url"] for each in page["link"]}.get("next"):
        assert "SECRET" not in following
        addresses.append(following)
        page = client.get(following).json()
        assert page["total"] == 3
        seen += ids(page)
    assert len(seen) == len(set(seen)) == 3
    assert Client(headers=south.bearer).get(addresses[0]).status_code == 400
    assert client.get("/fhir/ImagingStudy?search=bm9uZQ==").status_code == 400
    assert client.get(addresses[0].replace("ImagingStudy", "DiagnosticReport")).status_code == 400


@pytest.mark.parametrize(("kind", "count", "number"), [("ImagingStudy", 2, 3), ("Observation", 10, 28)])
def test_pages_hold_each_match_once(
    north: Hospital, store_film: Any, read: Any, ask: Any, kind: str, count: int, number: int
) -> None:
    for seed in range(3):
        film = store_film(north, seed=seed, size=256, patient_id=f"P{seed}").instance
        if seed < 2:
            read(film, Effusion=0.9)
    page = ask(north, kind, _count=str(count))
    seen: list[str] = []
    while True:
        seen += ids(page)
        assert page["total"] == number
        links = {each["relation"]: each["url"] for each in page["link"]}
        if "next" not in links:
            break
        assert len(ids(page)) == count
        # What comes in between shifts no page.
        store_film(north, seed=9, size=256)
        number += kind == "ImagingStudy" and len(seen) == count
        page = ask(north, kind, **{name: values[0] for name, values in parse_qs(urlsplit(links["next"]).query).items()})
    assert len(seen) == len(set(seen)) == {"ImagingStudy": 3, "Observation": 28}[kind]
    alone = ask(north, kind, _count="0")
    assert "entry" not in alone
    assert "total" not in ask(north, kind, _total="none")


def test_the_number_of_queries_does_not_grow_with_a_page(
    north: Hospital, store_film: Any, read: Any, sign: Any, ask: Any
) -> None:
    def queries() -> dict[str, int]:
        numbers = {}
        for kind in ("ImagingStudy", "DiagnosticReport", "Observation"):
            with CaptureQueriesContext(connection) as captured:
                ask(north, kind)
            numbers[kind] = len(captured)
        return numbers

    def add(seed: int) -> None:
        stored = store_film(north, seed=seed, size=256, patient_id=f"P{seed}")
        read(stored.instance, Effusion=0.9)
        if seed % 2:
            sign(north, stored.study, "Effusion.")

    for seed in (0, 1):
        add(seed)
    # The first requests note that the key was used, and fill caches.
    queries()
    before = queries()
    for seed in (2, 3):
        add(seed)
    assert queries() == before

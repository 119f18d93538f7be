"""Who may read FHIR, in which format, and what the audit trail says of it."""

import base64
from typing import Any

import pytest
from django.test import Client

from apps.audit.models import AuditEvent
from apps.fhir.searches import PARAMETERS
from apps.tenants.models import ApiScope
from apps.tenants.scope import tenant_tx
from apps.tenants.services import create_api_key
from tests.conftest import Hospital
from tests.fhir.validation import validate

NOWHERE = "0190a5c0-0000-7000-8000-000000000000"


@pytest.fixture
def study(north: Hospital, store_film: Any, read: Any) -> Any:
    stored = store_film(north, size=256)
    read(stored.instance, Effusion=0.9)
    return stored.study


def key(hospital: Hospital, *scopes: ApiScope) -> dict[str, str]:
    with tenant_tx(hospital.tenant.id):
        _, text = create_api_key(name="one", scopes=list(scopes))
    return {"authorization": f"Bearer {text}"}


def test_only_keys_with_the_scope_read(north: Hospital, study: Any, sign_in: Any) -> None:
    path = f"/fhir/DiagnosticReport/{study.pk}"
    for client, status, code in (
        (Client(), 401, "login"),
        (Client(headers={"authorization": "Bearer wrong"}), 401, "login"),
        (Client(headers=key(north, ApiScope.READ, ApiScope.RETRIEVE)), 403, "forbidden"),
        # Members read in the portal, where a hospital that reads blind first shows nothing before its readers commit.
        (sign_in(north, north.radiologist), 403, "forbidden"),
    ):
        answer = client.get(path)
        assert (answer.status_code, validate(answer.json())["issue"][0]["code"]) == (status, code)
    assert Client(headers=key(north, ApiScope.FHIR)).get(path).status_code == 200


def test_another_hospitals_resources_do_not_exist(north: Hospital, south: Hospital, study: Any, ask: Any) -> None:
    observation = ask(north, "Observation", _count="1")["entry"][0]["resource"]["id"]
    for kind, own in (
        ("ImagingStudy", study.pk),
        ("DiagnosticReport", study.pk),
        ("Observation", observation),
        ("Binary", f"{study.pk}.0"),
    ):
        foreign = ask(south, f"{kind}/{own}", expected=404)
        missing = ask(south, f"{kind}/{NOWHERE}{'.0' if kind == 'Binary' else ''}", expected=404)
        assert foreign == missing
        assert foreign["issue"][0]["code"] == "not-found"
    for kind in ("ImagingStudy", "DiagnosticReport", "Observation"):
        assert ask(south, kind)["total"] == 0
    by_id = ask(south, "Observation", **{"derived-from": str(study.pk)})
    assert by_id["total"] == 0


def test_a_version_that_reads_elsewhere_is_no_device_here(
    north: Hospital, south: Hospital, version: Any, ask: Any
) -> None:
    from apps.registry.models import ModelVersion

    other = ModelVersion.objects.create(
        name="other-net", number=1, sha256="1" * 64, manifest=version.manifest, device_uid="2.25.2"
    )
    assert ask(north, f"Device/{version.pk}")["status"] == "active"
    ask(north, f"Device/{other.pk}", expected=404)
    ModelVersion.objects.filter(pk=version.pk).update(retired="2026-01-01T00:00:00Z")
    # Results of a version that was retired still name it.
    assert ask(north, f"Device/{version.pk}")["status"] == "inactive"


def test_a_withdrawn_study_is_gone(north: Hospital, study: Any, ask: Any) -> None:
    from apps.inference.withdrawal import withdraw_study
    from apps.tenants.models import Membership

    with tenant_tx(north.tenant.id):
        member = Membership.objects.get(user=north.admin)
        withdraw_study(study_id=study.pk, reason="Wrong patient.", user=north.admin, membership=member)
    for kind in ("ImagingStudy", "DiagnosticReport"):
        assert ask(north, f"{kind}/{study.pk}", expected=410)["issue"][0]["code"] == "deleted"
        assert ask(north, kind)["total"] == 0
    assert ask(north, "Observation")["total"] == 0


def test_formats(north: Hospital, study: Any) -> None:
    client, path = Client(headers=north.bearer), f"/fhir/ImagingStudy/{study.pk}"
    for query, accept, status in (
        ("", "application/fhir+json; fhirVersion=4.0", 200),
        ("", "application/json", 200),
        ("", "text/html,application/xml;q=0.9,*/*;q=0.8", 200),
        ("", "application/fhir+xml", 406),
        ("", "application/fhir+json; fhirVersion=5.0", 406),
        ("?_format=json", "text/html", 200),
        ("?_format=application/fhir+json", "text/html", 200),
        ("?_format=xml", "application/fhir+json", 406),
    ):
        answer = client.get(path + query, headers={"accept": accept})
        assert answer.status_code == status, (query, accept)
        assert answer["Content-Type"] == "application/fhir+json"
        assert answer["Cache-Control"] == "private, no-store"
        validate(answer.json())
    assert client.head(path).status_code == 200


def test_what_is_not_offered(north: Hospital, study: Any) -> None:
    client = Client(headers=north.bearer)
    for method, path, status in (
        ("GET", "/fhir/Patient/1", 404),
        ("GET", "/fhir/ImagingStudy/a/b", 404),
        ("DELETE", f"/fhir/ImagingStudy/{study.pk}", 405),
        ("POST", "/fhir/ImagingStudy", 405),
    ):
        answer = client.generic(method, path)
        assert answer.status_code == status, path
        assert validate(answer.json())["resourceType"] == "OperationOutcome"


def test_the_pdf(north: Hospital, study: Any, ask: Any, sign: Any) -> None:
    client = Client(headers=north.bearer)
    (form,) = ask(north, f"DiagnosticReport/{study.pk}")["presentedForm"]
    assert form["title"] == "Preliminary report"
    pdf = client.get(f"/fhir/{form['url']}")
    assert (pdf["Content-Type"], pdf.content[:5]) == ("application/pdf", b"%PDF-")
    sign(north, study, "Effusion.")
    ask(north, form["url"], expected=404)
    (form,) = ask(north, f"DiagnosticReport/{study.pk}")["presentedForm"]
    signed = client.get(f"/fhir/{form['url']}", headers={"accept": "application/pdf"})
    as_json = validate(client.get(f"/fhir/{form['url']}", headers={"accept": "application/fhir+json"}).json())
    assert base64.b64decode(as_json["data"]) == signed.content
    with tenant_tx(north.tenant.id):
        assert AuditEvent.objects.filter(action="report.read", object_id=study.pk).count() == 5
        assert AuditEvent.objects.filter(action="request.refused", operation="fhir:Binary").count() == 1


def test_the_capability_statement_says_what_is_there(db: None) -> None:
    answer = Client().get("/fhir/metadata")
    statement = validate(answer.json())
    assert statement["fhirVersion"] == "4.0.1"
    resources = {each["type"]: each for each in statement["rest"][0]["resource"]}
    assert set(resources) == {*PARAMETERS, "Binary"}
    for kind, parameters in PARAMETERS.items():
        assert [each["name"] for each in resources[kind]["searchParam"]] == list(parameters)

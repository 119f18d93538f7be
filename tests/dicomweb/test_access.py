"""Who may search, get and store: scopes, sessions, and pages of other origins."""

import io
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from apps.audit.models import AuditEvent
from apps.tenants.models import ApiScope
from apps.tenants.scope import tenant_tx
from apps.tenants.services import create_api_key
from tests.conftest import Hospital
from tests.dicomweb.test_retrieve import address
from tests.dicomweb.web import MULTIPART, multipart

ORIGIN = "https://viewer.example"


@pytest.fixture
def film(north: Hospital, store_film: Callable[..., Any]) -> Any:
    return store_film(north, size=256)


def key(hospital: Hospital, *scopes: ApiScope) -> dict[str, str]:
    with tenant_tx(hospital.tenant.id):
        _, text = create_api_key(name="one", scopes=list(scopes))
    return {"authorization": f"Bearer {text}"}


def test_each_scope_opens_its_own_addresses(north: Hospital, south: Hospital, film: Any) -> None:
    asked = {"GET studies": "/dicom-web/studies", "GET instance": address(film), "POST studies": "/dicom-web/studies"}
    for scope, expected in {
        ApiScope.QUERY: [200, 403, 403],
        ApiScope.RETRIEVE: [403, 200, 403],
        ApiScope.STORE: [403, 403, 415],
    }.items():
        client = Client(headers=key(north, scope))
        got = [client.generic(name.split()[0], path).status_code for name, path in asked.items()]
        assert got == expected, scope
    other = Client(headers=south.bearer)
    for ending in ("", "/metadata", "/rendered", "/frames/1", "/bulkdata/7FE00010"):
        assert other.get(f"{address(film)}{ending}").status_code == 404
    with tenant_tx(north.tenant.id):
        retrieved = AuditEvent.objects.filter(action="instances.retrieved")
        assert [each.object_id for each in retrieved] == [film.study.pk]


def test_a_browser_gets_and_never_stores(north: Hospital, film: Any, sign_in: Any) -> None:
    browser = sign_in(north, north.radiologist)
    assert browser.get(f"{address(film)}/frames/1").status_code == 200
    body = multipart([b"".join(browser.get(address(film), headers={"accept": "application/dicom"}).streaming_content)])
    assert browser.post("/dicom-web/studies", body, content_type=MULTIPART).status_code == 403


def test_origins(north: Hospital, south: Hospital, film: Any, sign_in: Any) -> None:
    preflight = {"origin": ORIGIN, "access-control-request-method": "GET"}
    assert "Access-Control-Allow-Origin" not in Client().options(address(film), headers=preflight)
    admin = sign_in(north, north.admin)
    for refused in (
        "*",
        "null",
        "http://viewer.example",
        "https://viewer.example/path",
        "https://*.example",
        "x" * 300,
    ):
        answer = admin.post("/settings/dicomweb/", {"origins": refused})
        assert answer.status_code == 200
        assert answer.context["form"].errors
    assert (
        admin.post("/settings/dicomweb/", {"origins": f"{ORIGIN.upper()}/\n\nhttp://localhost:3000"}).status_code == 302
    )
    assert "http://localhost:3000\nhttps://viewer.example" in admin.get("/settings/dicomweb/").content.decode()
    answer = Client().options(address(film), headers=preflight)
    assert answer.status_code == 204
    assert answer["Access-Control-Allow-Origin"] == ORIGIN
    assert "Authorization" in answer["Access-Control-Allow-Headers"]
    assert "Access-Control-Allow-Credentials" not in answer
    for hospital, path, allowed in ((north, address(film), True), (south, "/dicom-web/studies", False)):
        answer = Client(headers=hospital.bearer).get(path, headers={"origin": ORIGIN})
        assert answer.has_header("Access-Control-Allow-Origin") is allowed
        assert "Origin" in answer["Vary"]
    assert admin.post("/settings/dicomweb/", {"origins": ""}).status_code == 302
    answer = Client(headers=north.bearer).get("/dicom-web/studies", headers={"origin": ORIGIN})
    assert not answer.has_header("Access-Control-Allow-Origin")
    assert sign_in(north, north.technologist).post("/settings/dicomweb/", {"origins": ORIGIN}).status_code == 403
    with tenant_tx(north.tenant.id):
        assert AuditEvent.objects.filter(action="web-origins.changed").count() == 2


def test_capabilities(db: None) -> None:
    from xml.etree import ElementTree

    found = Client().get("/dicom-web/").json()
    named = {(each["path"], each["method"]) for each in found["resources"]}
    assert ("studies/{study}/series/{series}/instances/{instance}/frames/{frames}", "GET") in named
    wadl = Client().options("/dicom-web/", headers={"accept": "application/vnd.sun.wadl+xml"})
    root = ElementTree.parse(io.BytesIO(wadl.content)).getroot()  # noqa: S314
    assert len(root.findall(".//{http://wadl.dev.java.net/2009/02}method")) == len(found["resources"])
    assert Client().get("/dicom-web/", headers={"accept": "image/png"}).status_code == 406


def test_a_lost_object_is_an_error_and_no_200(north: Hospital, film: Any) -> None:
    from apps.studies.storage import object_store

    client = Client(headers=north.bearer)
    study = address(film).split("/series/")[0]
    object_store().delete(film.instance.object_key)
    for path in (address(film), study, f"{study}/metadata", f"{address(film)}/frames/1", f"{address(film)}/rendered"):
        answer = client.get(path)
        assert answer.status_code == 503, path
        assert answer.json()["code"] == "object-missing"

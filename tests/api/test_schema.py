"""The OpenAPI document is valid, complete and without warnings; its page needs no network."""

import copy
import io
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from django.core.management import call_command
from django.test import Client

from tests.api.openapi_changes import breaking_changes
from tests.conftest import PROJECT_ROOT


@pytest.fixture(scope="module")
def document() -> Any:
    out = io.StringIO()
    call_command("spectacular", validate=True, fail_on_warn=True, stdout=out)
    return yaml.safe_load(out.getvalue())


def test_it_documents_every_address_and_nothing_else(document: Any) -> None:
    assert set(document["paths"]) == {
        "/api/v1/studies/",
        "/api/v1/studies/{study_instance_uid}/",
        "/api/v1/studies/{study_instance_uid}/report.pdf",
        "/api/v1/studies/{study_instance_uid}/reports/{number}.pdf",
        "/api/v1/studies/{study_instance_uid}/heatmaps/{label}.png",
        "/api/v1/predict",
        "/api/v1/models/",
        "/api/v1/models/{name}/{number}/",
        "/api/v1/webhooks/",
        "/api/v1/webhooks/{webhook_id}/",
        "/api/v1/webhooks/{webhook_id}/test/",
        "/api/v1/webhooks/{webhook_id}/secret/",
        "/api/v1/webhooks/{webhook_id}/repeat/",
    }


def read(path: str) -> Any:
    return yaml.safe_load((PROJECT_ROOT / path).read_text())


def test_the_document_in_the_repository_is_current(document: Any) -> None:
    assert read("docs/openapi.yaml") == document, "Run `make openapi`, and read what it changes."


def test_nothing_breaks_the_clients_of_the_last_release(document: Any) -> None:
    """Before 1.0.0 a minor version may: then the changelog says so, and `make release-openapi` is run."""
    assert breaking_changes(read("config/released_openapi.yaml"), document) == []


STUDIES, STUDY, PREDICT = "/api/v1/studies/", "/api/v1/studies/{study_instance_uid}/", "/api/v1/predict"


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda d: d["paths"].pop(STUDY), f"GET {STUDY}: removed"),
        (lambda d: parameter(d, "label").update(required=True), f"GET {STUDIES}: parameter label: required"),
        (lambda d: parameter(d, "label").update(name="finding"), f"GET {STUDIES}: parameter label: removed"),
        (lambda d: parameter(d, "label")["schema"]["enum"].remove("Mass"), f"GET {STUDIES}: parameter label: Mass"),
        (lambda d: properties(d, "Study").pop("warnings"), f"GET {STUDY}: answer 200.warnings: removed"),
        (lambda d: properties(d, "Patient")["sex"].update(type="integer"), "patient.sex: string became integer"),
        (lambda d: properties(d, "Study")["study_instance_uid"].update(nullable=True), "uid: may be null"),
        (lambda d: schema(d, "Study")["required"].remove("reason"), ".reason: no longer always there"),
        (lambda d: d["paths"][PREDICT]["post"]["requestBody"]["content"].pop("image/png"), "body image/png: removed"),
    ],
)  # fmt: skip
def test_a_change_that_breaks_clients_is_found(document: Any, change: Callable[[Any], Any], found: str) -> None:
    changed = copy.deepcopy(document)
    change(changed)
    assert any(found in each for each in breaking_changes(document, changed)), breaking_changes(document, changed)
    assert breaking_changes(document, document) == []


def parameter(document: Any, name: str) -> Any:
    (found,) = [each for each in document["paths"][STUDIES]["get"]["parameters"] if each["name"] == name]
    return found


def schema(document: Any, name: str) -> Any:
    return document["components"]["schemas"][name]


def properties(document: Any, name: str) -> Any:
    return schema(document, name)["properties"]


def test_it_says_who_may_ask(document: Any) -> None:
    assert document["components"]["securitySchemes"]["apiKey"]["scheme"] == "bearer"
    for operations in document["paths"].values():
        for operation in operations.values():
            assert {"apiKey": []} in operation["security"]


def test_it_documents_problems(document: Any) -> None:
    operations = [(path, each) for path, methods in document["paths"].items() for each in methods.values()]
    for path, operation in operations:
        responses = operation["responses"]
        taken = operation.get("requestBody", {}).get("content", {})
        takes_images = bool(taken) and "application/json" not in taken
        assert {"401", "403", "503"} <= responses.keys()
        assert ("404" in responses) == ("{" in path or takes_images)
        assert takes_images == ({"413", "415", "422", "429"} <= responses.keys())
        assert not taken or {"409", "415"} <= responses.keys()
        content = responses["401"]["content"]
        assert content["application/problem+json"]["schema"]["$ref"] == "#/components/schemas/Problem"
    assert "400" in document["paths"]["/api/v1/studies/"]["get"]["responses"]


def test_it_documents_what_predict_takes(document: Any) -> None:
    content = document["paths"]["/api/v1/predict"]["post"]["requestBody"]["content"]
    assert set(content) == {
        "application/dicom", "image/png", "image/jpeg", "multipart/form-data", "application/x-npy",
    }  # fmt: skip
    assert content["application/x-npy"]["schema"] == {"type": "string", "format": "binary"}


def test_it_documents_files_as_files(document: Any) -> None:
    report = document["paths"]["/api/v1/studies/{study_instance_uid}/report.pdf"]["get"]["responses"]["200"]
    assert list(report["content"]) == ["application/pdf"]


def test_the_pages_are_offline_and_need_no_inline_code(db: None) -> None:
    page = Client().get("/api/v1/docs/")
    text = page.content.decode()

    assert page.status_code == 200
    assert "Not for diagnostic use" in text
    assert "http://" not in text
    assert "https://" not in text
    assert "<style" not in text
    assert "unsafe" not in page["Content-Security-Policy"]
    assert text.count("<script src=") == text.count("<script") == 3
    script = Client().get("/api/v1/docs/?script=")
    assert script["Content-Type"] == "application/javascript"
    assert "/api/v1/schema/" in script.content.decode()


def test_the_document_is_served(db: None) -> None:
    assert Client().get("/api/v1/schema/").status_code == 200

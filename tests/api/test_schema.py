"""The OpenAPI document is valid, complete and without warnings; its page needs no network."""

import io
from typing import Any

import pytest
import yaml
from django.core.management import call_command
from django.test import Client


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
    }


def test_it_says_who_may_ask(document: Any) -> None:
    assert document["components"]["securitySchemes"]["apiKey"]["scheme"] == "bearer"
    for operations in document["paths"].values():
        for operation in operations.values():
            assert {"apiKey": []} in operation["security"]


def test_it_documents_problems(document: Any) -> None:
    for path, operations in document["paths"].items():
        (operation,) = operations.values()
        responses = operation["responses"]
        assert {"200", "401", "403", "503"} <= responses.keys()
        assert ("404" in responses) == ("{" in path or "requestBody" in operation)
        assert ("requestBody" in operation) == ({"413", "415", "429"} <= responses.keys())
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

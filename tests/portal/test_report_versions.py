"""The study page with rejected images, documents and amended reports."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from pydicom import uid

from apps.studies.models import ImageRejection, Study
from apps.tenants.scope import tenant_tx
from tests.conftest import Hospital
from tests.portal.test_study import at, job_on_page, words
from tests.studies import objects

STUDY = "1.2.826.0.1.99"
FIRST = f"{STUDY}.1.1"


@pytest.fixture
def study(north: Hospital, send: Callable[..., Any], finish: Callable[..., Any]) -> Study:
    send(north, objects.image(STUDY, 1, ViewPosition="AP"))
    finish(north, Effusion=0.71)
    with tenant_tx(north.tenant.id):
        return Study.objects.get()


@pytest.fixture
def client(north: Hospital, sign_in: Callable[..., Client]) -> Client:
    return sign_in(north, north.radiologist)


def test_a_signed_report_and_its_amendment(
    client: Client, north: Hospital, study: Study, send: Callable[..., Any], finish: Callable[..., Any]
) -> None:
    rest = {"agree_rest": "1"}
    client.post(at(study, "sign/"), {"job": job_on_page(client, study), "impression": "Effusion.", **rest})
    original = client.get(at(study, "report.pdf")).content
    assert client.get(at(study, "draft.pdf")).status_code == 404
    send(north, objects.image(STUDY, 2))
    assert "New images since the signature" in words(client.get(at(study)))
    assert "new images since the signature" in words(client.get("/", {"report": "new-images"}))
    assert STUDY not in client.get("/", {"report": "new-images"}).text
    finish(north, Mass=0.9)
    page = client.get(at(study))
    assert "Amend this report" in words(page)
    assert client.get(at(study, "draft.pdf")).content.startswith(b"%PDF")
    form = {"job": job_on_page(client, study), "impression": "Mass.", "amends": "1", **rest}
    assert client.post(at(study, "sign/"), form).status_code == 400
    assert client.post(at(study, "sign/"), {**form, "amends": ""}).status_code == 409
    assert client.post(at(study, "sign/"), {**form, "reason": "A better image."}).status_code == 302
    assert client.post(at(study, "sign/"), {**form, "reason": "Again."}).status_code == 409
    page = client.get(at(study))
    assert "Amended because: A better image." in words(page)
    assert "New images since" not in words(page)
    assert client.get(at(study, "reports/1.pdf")).content == original
    assert client.get(at(study, "reports/2.pdf")).content == client.get(at(study, "report.pdf")).content != original
    assert client.get(at(study, "reports/3.pdf")).status_code == 404
    assert "Amended" in words(client.get("/"))


def test_an_image_is_rejected_on_the_page_and_restored(
    client: Client, north: Hospital, south: Hospital, study: Study, sign_in: Callable[..., Client]
) -> None:
    form = {"job": job_on_page(client, study), "impression": "Effusion.", "agree_rest": "1"}
    assert client.post(at(study, "sign/"), form).status_code == 302
    technologist, admin = sign_in(north, north.technologist), sign_in(north, north.admin)
    form = {"image": FIRST, "code": "113037", "reason": "<b>Wrong</b> patient side."}
    assert "Reject image 1" in words(technologist.get(at(study)))
    assert admin.post(at(study, "images/reject/"), form).status_code == 403
    assert sign_in(south, south.technologist).post(at(study, "images/reject/"), form).status_code == 404
    assert technologist.post(at(study, "images/reject/"), {**form, "code": "1"}).status_code == 400
    assert technologist.post(at(study, "images/reject/"), form).status_code == 302
    page = client.get(at(study))
    assert "Image 1 was rejected: rejected for patient safety reasons." in words(page)
    assert "&lt;b&gt;Wrong&lt;/b&gt; patient side." in page.text
    assert "The image of this report was rejected since" in words(page)
    assert client.get(at(study, "state/")).json()["report_status"] == "final"
    assert technologist.post(at(study, "images/restore/"), {"image": FIRST}).status_code == 302
    assert technologist.post(at(study, "images/restore/"), {"image": FIRST}).status_code == 409
    with tenant_tx(north.tenant.id):
        assert ImageRejection.objects.get().withdrawn_by == north.technologist


def test_other_objects_are_listed_and_are_no_image(
    client: Client, north: Hospital, study: Study, send: Callable[..., Any]
) -> None:
    before = client.get(at(study))
    assert "Other objects" not in words(before)
    send(north, objects.document(STUDY, uid.ComprehensiveSRStorage))
    page = client.get(at(study))
    assert "Other objects Comprehensive SR: Chest PA" in words(page)
    assert len(re.findall("<summary>Reject image", page.text)) == 1
    assert client.get(at(study, "film.png"), {"image": "2"}).status_code == 404
    assert client.get(at(study, "state/")).json()["status"] == "complete"

"""Uploads: every file has its own outcome, and an incomplete upload stores nothing."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.conf import settings as configured
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from PIL import Image

from apps.studies.models import Instance, Study
from apps.tenants.scope import tenant_tx
from tests.conftest import Hospital, enter
from tests.synthetic import synthetic_image

JSON = {"Accept": "application/json"}
UNKNOWN = {"is_frontal": "on", "patient_unknown": "on"}


@pytest.fixture
def client(north: Hospital, sign_in: Callable[..., Client]) -> Client:
    return sign_in(north, north.technologist)


@pytest.fixture
def film(make_film: Callable[..., Path]) -> bytes:
    return make_film(patient_name="DOE^Jane").read_bytes()


def picture(kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray((synthetic_image(5, 320).pixels >> 4).astype(np.uint8)).save(buffer, kind)
    return buffer.getvalue()


def zipped(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def send(client: Client, data: bytes, name: str = "film.dcm", **fields: str) -> Any:
    body = {**fields, "files": SimpleUploadedFile(name, data), "complete": "1"}
    return client.post("/upload/", body, headers=JSON)


def stored(hospital: Hospital) -> int:
    with tenant_tx(hospital.tenant.id):
        return Instance.objects.count()


def spooled() -> list[Path]:
    return [path for path in Path(configured.SPOOL_DIR).rglob("*") if path.is_file()]


def test_a_dicom_film_is_stored_once_and_queued(client: Client, north: Hospital, film: bytes) -> None:
    (outcome,) = send(client, film, "IM0001").json()
    assert (outcome["name"], outcome["outcome"]) == ("IM0001", "stored")
    assert "waits for the AI" in client.get(outcome["study_url"]).text
    (again,) = send(client, film).json()
    assert (again["outcome"], again["study_url"]) == ("known", outcome["study_url"])
    assert stored(north) == 1
    assert spooled() == []


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_picture_becomes_a_study_of_the_patient_who_was_named(client: Client, north: Hospital, kind: str) -> None:
    details = {"is_frontal": "on", "patient_id": "A-7", "patient_name": "DOE^Jané", "study_date": "2024-03-01"}
    (outcome,) = send(client, picture(kind), f"scan.{kind.lower()}", **details).json()
    assert outcome["outcome"] == "stored", outcome
    page = client.get(outcome["study_url"]).text
    assert "DOE, Jané" in page
    assert "A-7" in page
    assert "2024-03-01" in page
    (again,) = send(client, picture(kind), "copy.png", **details).json()
    assert again["outcome"] == "known"


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, "frontal-not-confirmed"),
        ({"is_frontal": "on"}, "patient-missing"),
        ({"is_frontal": "on", "patient_name": "DOE^Jane"}, "patient-missing"),
        ({"is_frontal": "on", "patient_id": "  "}, "patient-missing"),
    ],
)
def test_a_picture_needs_its_patient_and_what_it_shows(
    client: Client, north: Hospital, fields: dict[str, str], code: str
) -> None:
    (outcome,) = send(client, picture(), "scan.png", **fields).json()
    assert (outcome["outcome"], outcome["code"]) == ("refused", code)
    assert stored(north) == 0
    (outcome,) = send(client, picture(), "scan.png", is_frontal="on", patient_unknown="on").json()
    assert outcome["outcome"] == "stored"


def test_every_file_of_an_archive_has_an_outcome(client: Client, north: Hospital, film: bytes) -> None:
    data = zipped(**{"a/IM1": film, "b.png": picture(), "notes.txt": b"not a film", "__MACOSX/x": b"x"})
    outcomes = {each["name"]: each for each in send(client, data, "films.zip", **UNKNOWN).json()}
    assert {name: each["outcome"] for name, each in outcomes.items()} == {
        "IM1": "stored", "b.png": "stored", "notes.txt": "refused"
    }  # fmt: skip
    assert outcomes["notes.txt"]["code"] == "format-not-recognised"
    assert stored(north) == 2
    assert spooled() == []


def test_an_archive_without_films(client: Client) -> None:
    (outcome,) = send(client, zipped(), "empty.zip").json()
    assert (outcome["outcome"], outcome["code"]) == ("refused", "archive-empty")


@pytest.mark.parametrize(
    ("data", "code"),
    [(b"", "file-empty"), (b"hello", "format-not-recognised"), (b"PK\x03\x04" + bytes(64), "archive-damaged")],
)
def test_what_is_no_film_is_refused_with_a_reason(client: Client, north: Hospital, data: bytes, code: str) -> None:
    (outcome,) = send(client, data).json()
    assert (outcome["outcome"], outcome["code"]) == ("refused", code)
    assert outcome["detail"]
    assert stored(north) == 0


def test_the_same_uid_with_other_content_is_refused(client: Client, make_film: Callable[..., Path]) -> None:
    uids = {"study_uid": "2.25.1", "series_uid": "2.25.2", "sop_uid": "2.25.3", "patient_id": "A"}
    assert send(client, make_film(seed=1, **uids).read_bytes()).json()[0]["outcome"] == "stored"
    (outcome,) = send(client, make_film(seed=2, **uids).read_bytes()).json()
    assert (outcome["outcome"], outcome["code"]) == ("refused", "duplicate-with-other-content")


def test_a_film_that_is_too_large(client: Client, film: bytes, settings: Any) -> None:
    settings.MAX_INSTANCE_BYTES = 1000
    assert send(client, film).json()[0]["code"] == "instance-too-large"


def test_an_upload_that_is_too_large_is_refused_before_it_is_read(client: Client, film: bytes, settings: Any) -> None:
    settings.MAX_UPLOAD_BYTES = -1024 * 1024
    response = send(client, film)
    assert (response.status_code, response.json()["status"]) == (413, 413)


def test_an_upload_that_was_cut_off_stores_nothing(client: Client, north: Hospital, film: bytes) -> None:
    head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.dcm"\r\n\r\n'
    for body in (head + film[:2000], head + film + b"\r\n--x--\r\n"):
        response = client.generic("POST", "/upload/", body, "multipart/form-data; boundary=x", headers=JSON)
        assert (response.status_code, response.json()["code"]) == (400, "upload-cut-off")
    assert stored(north) == 0
    assert spooled() == []


@pytest.mark.parametrize(
    "details",
    [
        {"patient_name": "A\\B"},
        {"patient_id": "A\nB"},
        {"patient_id": "x" * 65},
        {"study_date": "tomorrow"},
        {"study_date": "2190-01-01"},
        {"patient_unknown": "on", "patient_id": "A"},
    ],
)
def test_patient_details_that_dicom_cannot_hold(client: Client, details: dict[str, str]) -> None:
    response = send(client, picture(), "scan.png", is_frontal="on", **details)
    assert response.status_code == 400
    assert response.json()["detail"].startswith("Patient details:")


def test_without_scripts_the_page_lists_the_outcomes(client: Client, film: bytes) -> None:
    names = {"a.dcm": film, "b.txt": b"hello", "c.png": picture()}
    files = [SimpleUploadedFile(name, data) for name, data in names.items()]
    page = client.post("/upload/", {"files": files, "complete": "1"}).text
    assert "Stored" in page
    assert "Refused" in page
    assert "Open the study" in page
    assert "enter patient ID and name, or say that the patient is unknown" in page or "confirm that it is" in page
    fields = {"files": SimpleUploadedFile("c.png", picture()), **UNKNOWN, "complete": "1"}
    assert "chip stored" in client.post("/upload/", fields).text
    foreign = {**fields, "member": "0190a5c0-0000-7000-8000-000000000000"}
    assert client.post("/upload/", foreign).status_code == 409
    assert "Choose at least one file." in client.post("/upload/", {"complete": "1"}).text


def test_strangers_and_forgeries_are_turned_away_unread(north: Hospital, film: bytes) -> None:
    assert send(Client(), film).status_code == 401
    client = Client(enforce_csrf_checks=True)
    client.force_login(north.technologist)
    enter(client, north, north.technologist)
    assert send(client, film).status_code == 403
    assert stored(north) == 0


def test_the_film_belongs_to_the_hospital_of_the_sender(
    client: Client, north: Hospital, south: Hospital, sign_in: Callable[..., Client], film: bytes
) -> None:
    (outcome,) = send(client, film).json()
    assert sign_in(south, south.radiologist).get(outcome["study_url"]).status_code == 404
    (other,) = send(sign_in(south, south.technologist), film).json()
    assert other["outcome"] == "stored"
    with tenant_tx(south.tenant.id):
        assert Study.objects.count() == 1

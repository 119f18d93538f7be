"""Orthanc's DICOMweb plugin as a peer, with its multipart boundary of 73 characters."""

from pathlib import Path
from typing import Any

import pytest
import requests

from tests.conftest import Hospital
from tests.dicomweb.test_stow import Film, count
from tests.dicomweb.web import WebServer, multipart, values
from tests.orthanc import orthanc
from tests.studies import objects


def with_server(web: WebServer, hospital: Hospital, **others: Any) -> dict[str, Any]:
    """A configuration that calls our DICOMweb ``checxray``."""
    headers = {"Authorization": f"Bearer {hospital.api_key}"}
    return {"DicomWeb": {"Servers": {"checxray": {"Url": f"{web.url}/dicom-web/", "HttpHeaders": headers} | others}}}


@pytest.mark.peer("Orthanc", "STOW-RS to us")
@pytest.mark.parametrize("is_chunked", [False, True])
def test_orthanc_sends_a_study(web: WebServer, north: Hospital, film: Film, tmp_path: Path, is_chunked: bool) -> None:
    with orthanc(tmp_path, with_server(web, north, ChunkedTransfers=is_chunked)) as url:
        stored = [requests.post(f"{url}/instances", film(seed), timeout=60).json()["ID"] for seed in (1, 2, 3)]
        answer = requests.post(
            f"{url}/dicom-web/servers/checxray/stow", json={"Resources": stored, "Synchronous": True}, timeout=60
        )
        assert answer.status_code == 200, answer.text
    assert count(north) == (3, 3, 3)


@pytest.mark.peer("Orthanc", "QIDO-RS and WADO-RS from us")
def test_orthanc_finds_and_gets_a_study(web: WebServer, north: Hospital, tmp_path: Path) -> None:
    study = "1.2.826.0.1.79"
    sent = [objects.image(study, 1), objects.image(study, 2)]
    assert web.stow(north.api_key, sent).status_code == 200
    with orthanc(tmp_path, with_server(web, north)) as url:
        server = f"{url}/dicom-web/servers/checxray"
        asked = {"Uri": "/studies", "Arguments": {"00100020": "P1"}}
        (found,) = requests.post(f"{server}/get", json=asked, timeout=30).json()
        assert values(found, "0020000D") == [study]
        wanted = {"Resources": [{"Study": study}], "Synchronous": True}
        answer = requests.post(f"{server}/retrieve", json=wanted, timeout=60)
        assert answer.status_code == 200, answer.text
        ids = requests.get(f"{url}/instances", timeout=60).json()
        files = [requests.get(f"{url}/instances/{each}/file", timeout=60).content for each in ids]
    assert sorted(files) == sorted(sent)


def test_what_orthanc_sent_once(web: WebServer, north: Hospital, test_data: Path) -> None:
    cases = test_data / "dicom" / "cases"
    answer = requests.post(
        f"{web.url}/dicom-web/studies",
        data=(cases / "o05_orthanc_stow_body.bin").read_bytes(),
        headers=north.bearer | {"Content-Type": (cases / "o05_content_type.txt").read_text().strip()},
        timeout=30,
    )
    assert answer.status_code == 200, answer.text
    assert len(values(answer.json(), "00081199")) == 1


@pytest.mark.parametrize("length", [1, 73, 200])
@pytest.mark.parametrize("quote", ["", '"'])
def test_boundaries_of_other_makers(web: WebServer, north: Hospital, film: Film, length: int, quote: str) -> None:
    boundary = ("b-" * length)[: length - 1] + "e"
    content_type = f'multipart/related; type="application/dicom"; boundary={quote}{boundary}{quote}'
    answer = requests.post(
        f"{web.url}/dicom-web/studies",
        data=multipart([film(1)], boundary),
        headers=north.bearer | {"Content-Type": content_type},
        timeout=30,
    )
    assert answer.status_code == 200, answer.text

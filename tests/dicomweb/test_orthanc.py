"""Orthanc's DICOMweb plugin as a peer, with its multipart boundary of 73 characters."""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.conftest import Hospital
from tests.dicomweb.test_stow import Film, count
from tests.dicomweb.web import WebServer, free_port, multipart, values
from tests.studies import objects

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


@contextmanager
def running_orthanc(folder: Path, peer: dict[str, Any]) -> Iterator[str]:
    """Orthanc with one DICOMweb server, configured as ``checxray``; yields its address."""
    port = free_port()
    configuration = {
        "HttpPort": port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomServerEnabled": False,
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "Plugins": [str(PLUGIN)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "Servers": {"checxray": peer}},
    }
    (folder / "orthanc.json").write_text(json.dumps(configuration))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([shutil.which("Orthanc"), str(folder / "orthanc.json")], stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                requests.get(f"{url}/system", timeout=2)
                break
            except requests.ConnectionError:
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.peer("Orthanc", "STOW-RS to us")
@pytest.mark.skipif(not PLUGIN.exists(), reason="Orthanc is absent: apt-get install orthanc orthanc-dicomweb")
@pytest.mark.parametrize("is_chunked", [False, True])
def test_orthanc_sends_a_study(web: WebServer, north: Hospital, film: Film, tmp_path: Path, is_chunked: bool) -> None:
    peer = {"Url": f"{web.url}/dicom-web/", "HttpHeaders": {"Authorization": f"Bearer {north.api_key}"},
            "ChunkedTransfers": is_chunked}  # fmt: skip
    with running_orthanc(tmp_path, peer) as orthanc:
        stored = [requests.post(f"{orthanc}/instances", film(seed), timeout=60).json()["ID"] for seed in (1, 2, 3)]
        answer = requests.post(
            f"{orthanc}/dicom-web/servers/checxray/stow", json={"Resources": stored, "Synchronous": True}, timeout=60
        )
        assert answer.status_code == 200, answer.text + (tmp_path / "log").read_text()
    assert count(north) == (3, 3, 3)


@pytest.mark.peer("Orthanc", "QIDO-RS and WADO-RS from us")
@pytest.mark.skipif(not PLUGIN.exists(), reason="Orthanc is absent: apt-get install orthanc orthanc-dicomweb")
def test_orthanc_finds_and_gets_a_study(web: WebServer, north: Hospital, tmp_path: Path) -> None:
    study = "1.2.826.0.1.79"
    sent = [objects.image(study, 1), objects.image(study, 2)]
    assert web.stow(north.api_key, sent).status_code == 200
    peer = {"Url": f"{web.url}/dicom-web/", "HttpHeaders": {"Authorization": f"Bearer {north.api_key}"}}
    with running_orthanc(tmp_path, peer) as orthanc:
        server = f"{orthanc}/dicom-web/servers/checxray"
        asked = {"Uri": "/studies", "Arguments": {"00100020": "P1"}}
        (found,) = requests.post(f"{server}/get", json=asked, timeout=30).json()
        assert values(found, "0020000D") == [study]
        wanted = {"Resources": [{"Study": study}], "Synchronous": True}
        answer = requests.post(f"{server}/retrieve", json=wanted, timeout=60)
        assert answer.status_code == 200, answer.text + (tmp_path / "log").read_text()
        ids = requests.get(f"{orthanc}/instances", timeout=60).json()
        files = [requests.get(f"{orthanc}/instances/{each}/file", timeout=60).content for each in ids]
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

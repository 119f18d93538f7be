"""Uploads in pieces: they survive what breaks in between, belong to one user, and are visible only when whole."""

import base64
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as configured
from django.test import Client

from apps.core.errors import NotFoundError
from apps.studies.models import Instance, Study
from apps.studies.resumable import PartialUploads, remove_expired_uploads
from apps.studies.spool import PARTIAL_UPLOADS, remove_abandoned
from apps.tenants.scope import tenant_tx
from tests.conftest import Hospital
from tests.portal.test_upload import picture, zipped

TUS = {"Tus-Resumable": "1.0.0", "Accept": "application/json"}
PATIENT = {"is_frontal": "on", "patient_id": "A-7", "patient_name": "DOE^Jane"}


@pytest.fixture(autouse=True)
def folder() -> Iterator[Path]:
    path = Path(configured.SPOOL_DIR) / PARTIAL_UPLOADS
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def client(north: Hospital, sign_in: Callable[..., Client]) -> Client:
    return sign_in(north, north.technologist)


@pytest.fixture
def film(make_film: Callable[..., Path]) -> bytes:
    return make_film(patient_name="DOE^Jane").read_bytes()


def start(client: Client, data: bytes, size: int | None = None, **headers: str) -> Any:
    mark = base64.b64encode(f"sha256:{hashlib.sha256(data).hexdigest()}".encode()).decode()
    own = {"Upload-Length": str(len(data) if size is None else size), "Upload-Metadata": f"fingerprint {mark}"}
    return client.post("/upload/parts/", headers={**TUS, **own, **headers})


def patch(client: Client, url: str, piece: bytes, offset: int, **headers: str) -> Any:
    own = {"Upload-Offset": str(offset), **TUS, **headers}
    return client.patch(url, piece, content_type="application/offset+octet-stream", headers=own)


def store(client: Client, url: str, **fields: str) -> Any:
    return client.post(f"{url}store/", {"name": "IM1", **fields}, headers={"Accept": "application/json"})


def sent(client: Client, data: bytes) -> str:
    """Send all of a file and return its address."""
    url: str = start(client, data)["Location"]
    assert patch(client, url, data, 0).status_code == 204
    return url


def instances(hospital: Hospital) -> int:
    with tenant_tx(hospital.tenant.id):
        return Instance.objects.count()


def kept(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".done")]


def test_a_film_arrives_in_pieces_and_is_visible_only_when_it_is_whole(
    client: Client, north: Hospital, film: bytes, folder: Path
) -> None:
    begun = start(client, film)
    url, offset = begun["Location"], 0
    assert (begun.status_code, begun["Upload-Offset"]) == (201, "0")
    while offset < len(film):
        assert store(client, url).json()["code"] == "upload-incomplete"
        answer = patch(client, url, film[offset : offset + 40_000], offset)
        offset = min(offset + 40_000, len(film))
        assert (answer.status_code, answer["Upload-Offset"]) == (204, str(offset))
        assert start(client, film)["Upload-Offset"] == str(offset), "the same file continues"
        assert (instances(north), len(kept(folder))) == (0, 1)
    head = client.head(url, headers=TUS)
    assert (head["Upload-Offset"], head["Upload-Length"]) == (str(len(film)), str(len(film)))
    assert head["Cache-Control"] == "no-store"
    sha256 = hashlib.sha256(film).hexdigest()
    (outcome,) = store(client, url, attempt="a1", sha256=sha256).json()
    assert (outcome["name"], outcome["outcome"], instances(north)) == ("IM1", "stored", 1)
    assert kept(folder) == []
    # The answer was lost on the way, or another window sent the same file.
    assert store(client, url, attempt="a1", sha256=sha256).json() == [outcome]
    assert store(client, url, attempt="b2").json() == [{**outcome, "outcome": "known"}]
    assert client.head(url, headers=TUS).status_code == 404
    assert start(client, film)["Upload-Offset"] == "0"


def test_what_the_protocol_refuses(client: Client, film: bytes, folder: Path) -> None:
    url = start(client, film)["Location"]
    size = len(film)
    for piece, offset, headers, status, code in [
        (film[:10], 5, {}, 409, "upload-offset"),
        (film + b"x", 0, {}, 413, "upload-beyond-size"),
        (film[:10], 0, {"Tus-Resumable": "0.2.2"}, 412, "tus-version"),
        (film[:10], 0, {"Upload-Offset": "-1"}, 400, "invalid-input"),
        (film[:10], 0, {"Upload-Offset": ""}, 400, "invalid-input"),
    ]:
        answer = patch(client, url, piece, offset, **headers)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert client.patch(url, film[:10], headers=TUS | {"Upload-Offset": "0"}).status_code == 415
    assert client.head(url, headers=TUS)["Upload-Offset"] == "0", "nothing of these is kept"
    assert start(client, film, **{"Upload-Length": "many"}).status_code == 400
    assert start(client, film, **{"Upload-Length": "9" * 15}).status_code == 413
    for metadata in ("fingerprint ???", "fingerprint " + "A" * 2000):
        assert start(client, film, **{"Upload-Metadata": metadata}).status_code == 400
    offered = client.options("/upload/parts/")
    assert (offered["Tus-Version"], offered["Tus-Extension"]) == ("1.0.0", "creation,termination,expiration")
    for address in (url.replace(f"-{size}", f"-{size + 1}"), url.replace(f"-{size}", "-99999999")):
        assert patch(client, address, film[:10], 0).status_code == 404
    assert client.head("/upload/parts/nonsense/", headers=TUS).status_code == 404
    assert client.delete(url, headers=TUS).status_code == 204
    assert client.delete(url, headers=TUS).status_code == 404
    assert kept(folder) == []


def test_an_upload_belongs_to_one_user_of_one_hospital(
    client: Client, north: Hospital, south: Hospital, sign_in: Callable[..., Client], film: bytes
) -> None:
    url = sent(client, film)
    for other in (sign_in(north, north.radiologist), sign_in(south, south.technologist)):
        assert other.head(url, headers=TUS).status_code == 404
        assert patch(other, url, b"x", len(film)).status_code == 404
        assert other.delete(url, headers=TUS).status_code == 404
        assert store(other, url).json()["code"] == "upload-unknown"
        assert start(other, film)["Upload-Offset"] == "0", "the same file of another user is another upload"
        other.post("/upload/discard/")
    assert Client().head(url, headers=TUS).status_code == 401
    assert store(client, url).json()[0]["outcome"] == "stored"


def test_a_page_of_another_person_or_hospital_sends_nothing(client: Client, north: Hospital, film: bytes) -> None:
    session = client.get("/upload/session/", headers=TUS).json()
    assert start(client, film, **{"X-Member": session["member"]}).status_code == 201
    url = sent(client, film)
    foreign = {"X-Member": "0190a5c0-0000-7000-8000-000000000000"}
    assert start(client, film, **foreign).json()["code"] == "other-member"
    answer = client.post(f"{url}store/", {"name": "a"}, headers={**TUS, **foreign})
    assert (answer.status_code, answer.json()["code"]) == (409, "other-member")
    assert instances(north) == 0


class _Cut:
    """A stream whose process dies after the first piece."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, size: int, /) -> bytes:
        if not self._data:
            os._exit(9)
        data, self._data = self._data[:size], b""
        return data


def test_a_killed_process_leaves_a_beginning_that_continues(client: Client, north: Hospital, film: bytes) -> None:
    url = start(client, film)["Location"]
    upload = PartialUploads(tenant_id=north.tenant.id, user_id=north.technologist.pk).get(url.split("/")[-2])
    child = os.fork()
    if not child:
        upload.append(_Cut(film[:70_000]), offset=0, length=len(film))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    offset = int(start(client, film)["Upload-Offset"])
    assert offset == 70_000
    assert patch(client, url, film[offset:], offset).status_code == 204
    assert store(client, url, sha256=hashlib.sha256(film).hexdigest()).json()[0]["outcome"] == "stored"


def test_two_requests_for_one_upload_take_turns(client: Client, north: Hospital, film: bytes) -> None:
    url = sent(client, film)
    upload = PartialUploads(tenant_id=north.tenant.id, user_id=north.technologist.pk).get(url.split("/")[-2])
    with upload.whole():
        for answer in (store(client, url), patch(client, url, b"x", len(film)), client.delete(url, headers=TUS)):
            assert (answer.status_code, answer.json()["code"], answer["Retry-After"]) == (429, "upload-busy", "1")
        assert client.post("/upload/discard/").status_code == 302
    assert store(client, url).json()[0]["outcome"] == "stored"


def test_a_storage_that_is_away_at_the_last_step(
    client: Client, north: Hospital, film: bytes, folder: Path, tmp_path: Path, settings: Any
) -> None:
    data = zipped(a=film, b=picture(), c=b"no film")
    url = sent(client, data)
    working = settings.STORAGES
    blocked = tmp_path / "file"
    blocked.touch()
    default = working["default"]
    options = {"OPTIONS": default["OPTIONS"] | {"location": blocked / "objects"}}
    settings.STORAGES = working | {"default": default | options}
    outcomes = [each["outcome"] for each in store(client, url, **PATIENT).json()]
    assert outcomes[:2] == ["failed", "failed"]
    assert (instances(north), len(kept(folder))) == (0, 1)
    settings.STORAGES = working
    outcomes = [each["outcome"] for each in store(client, url, **PATIENT).json()]
    assert (outcomes, instances(north), kept(folder)) == (["stored", "stored", "refused"], 2, [])


def test_a_full_disk_takes_no_piece_and_keeps_those_it_has(client: Client, film: bytes, settings: Any) -> None:
    url = start(client, film)["Location"]
    patch(client, url, film[:1000], 0)
    settings.SPOOL_FREE_FLOOR_BYTES = 2**60
    answer = patch(client, url, film[1000:2000], 1000)
    assert (answer.status_code, answer["Retry-After"]) == (507, "15")
    assert start(client, b"other").status_code == 507
    settings.SPOOL_FREE_FLOOR_BYTES = 0
    assert start(client, film)["Upload-Offset"] == "1000"


def test_unfinished_uploads_are_bounded_shown_discarded_and_expire(
    client: Client, north: Hospital, sign_in: Callable[..., Client], folder: Path, settings: Any
) -> None:
    settings.PARTIAL_UPLOAD_BYTES_PER_USER = 3000
    settings.PARTIAL_UPLOAD_BYTES_PER_TENANT = 4000
    url = start(client, b"one", size=2000)["Location"]
    patch(client, url, bytes(1500), 0)
    answer = start(client, b"two", size=1001)
    assert (answer.status_code, answer.json()["code"]) == (413, "unfinished-uploads")
    assert start(sign_in(north, north.radiologist), b"three", size=2001).status_code == 507
    assert "1 upload was not finished (0.0 MB have arrived)" in client.get("/upload/").text
    assert "One unfinished upload is discarded." in client.post("/upload/discard/", follow=True).text
    assert kept(folder) == []
    url = start(client, b"two", size=3000)["Location"]
    (path,) = folder.glob("*/*/*")
    remove_abandoned()
    remove_expired_uploads()
    assert path.exists()
    long_ago = time.time() - 25 * 3600
    for each in (path, folder):
        os.utime(each, (long_ago, long_ago))
    remove_abandoned()
    assert path.exists()
    remove_expired_uploads()
    assert client.head(url, headers=TUS).status_code == 404
    with pytest.raises(NotFoundError):
        PartialUploads(tenant_id=north.tenant.id, user_id=north.technologist.pk).get("nonsense")


def test_a_file_that_arrived_damaged_is_not_stored(client: Client, north: Hospital, film: bytes) -> None:
    url = sent(client, film)
    answer = store(client, url, sha256=hashlib.sha256(b"another").hexdigest())
    assert (answer.status_code, answer.json()["code"]) == (400, "upload-damaged")
    assert (start(client, film)["Upload-Offset"], instances(north)) == ("0", 0)


def test_a_picture_waits_for_its_patient_without_being_sent_again(client: Client, north: Hospital) -> None:
    url = sent(client, picture())
    assert store(client, url).json()[0]["code"] == "frontal-not-confirmed"
    assert store(client, url, is_frontal="on", patient_id="A-7").json()[0]["code"] == "patient-missing"
    both = store(client, url, patient_unknown="on", **PATIENT)
    assert (both.status_code, both.json()["code"]) == (400, "details-invalid")
    assert store(client, url, **PATIENT).json()[0]["outcome"] == "stored"
    # The same picture of another patient is another study: the record of the first is no answer.
    assert store(client, url, is_frontal="on", patient_unknown="on").json()["code"] == "upload-unknown"
    url = sent(client, picture())
    assert store(client, url, is_frontal="on", patient_unknown="on").json()[0]["outcome"] == "stored"
    with tenant_tx(north.tenant.id):
        assert sorted(Study.objects.values_list("patient__patient_id", flat=True)) == ["", "A-7"]

"""Uploading an evaluation set: what is taken, what is refused, and that nothing is left of what was refused."""

import gzip
import io
import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import TemporaryUploadedFile
from django.test import Client
from django.urls import reverse
from PIL import Image

from apps.accounts.models import User
from apps.core.errors import InvalidInputError
from apps.evaluation import archives
from apps.evaluation.models import EvaluationSet
from apps.evaluation.services import upload_evaluation_set
from tests.conftest import PASSWORD, Hospital

LABELS = b"image,patient,labels,split\na.png,P1,Effusion,test\nsub/b.png,P2,No Finding,test\n"


def picture() -> bytes:
    stream = io.BytesIO()
    Image.new("L", (64, 64), 90).save(stream, "PNG")
    return stream.getvalue()


GOOD = {"labels.csv": LABELS, "a.png": picture(), "sub/b.png": picture()}


def zipped(files: Mapping[str, bytes], mode: int = 0o644, method: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr, info.compress_type = (mode | stat.S_IFREG) << 16, method
            archive.writestr(info, content)
    return stream.getvalue()


@pytest.fixture
def uploads(settings: Any, tmp_path: Path) -> Path:
    settings.EVALUATION_FOLDERS, settings.EVALUATION_UPLOADS = tmp_path / "server", tmp_path / "sets"
    return tmp_path / "sets"


@pytest.fixture
def send(db: None, uploads: Path) -> Any:
    client = Client()
    client.force_login(User.objects.create_user("operator@platform.example", PASSWORD, is_staff=True))

    def sent(content: bytes, name: str = "own", **headers: str) -> Any:
        file = TemporaryUploadedFile("films.zip", "application/zip", len(content), None)
        file.write(content)
        file.seek(0)
        given = {"name": name, "archive": file}
        return client.post(reverse("admin:evaluation_evaluationset_upload"), given, headers=headers)

    return sent


def left(uploads: Path) -> list[str]:
    return sorted(path.name for path in uploads.glob("*"))


def test_an_archive_becomes_a_set(send: Any, uploads: Path) -> None:
    assert send(zipped(GOOD)).status_code == 302
    made = EvaluationSet.objects.get()
    assert (made.films, made.patients, made.folder) == (2, 2, str(uploads / "own"))
    assert (uploads / "own/sub/b.png").read_bytes() == picture()
    again = send(zipped(GOOD))
    assert b"choose another name" in again.content
    # An archive of a whole folder, asked by the script.
    answer = send(
        zipped({f"films/{name}": content for name, content in GOOD.items()}), "whole", accept="application/json"
    )
    assert answer.json() == {"url": reverse("admin:evaluation_evaluationset_changelist")}
    assert left(uploads) == ["own", "whole"]


def test_each_wrong_row_is_named_and_nothing_is_stored(send: Any, uploads: Path) -> None:
    rows = b"a.png,P1,Efusion,test\n../c.png,P2,Mass,test\nb.png,,Mass,test\nd.png,P3,Mass,late\n"
    table = b"image,patient,labels,split\n" + rows
    answer = send(zipped({**GOOD, "labels.csv": table}), accept="application/json")
    assert answer.status_code == 400
    lines = [error.split(":")[0] for error in answer.json()["errors"]]
    assert lines == [f"labels.csv line {line}" for line in (2, 3, 4, 5)]
    missing = send(zipped({"labels.csv": LABELS, "a.png": picture()}))
    assert b"labels.csv line 3: sub/b.png is not in the folder." in missing.content
    nothing = send(zipped({"a.png": picture()})).content.decode()
    assert "the archive: this folder has no table of a known data set" in nothing
    assert ".unpacking-" not in nothing
    assert b"damaged" in send(b"no archive").content
    assert left(uploads) == []
    assert not EvaluationSet.objects.exists()


def test_hostile_archives_are_refused_whole(send: Any, uploads: Path, monkeypatch: Any, settings: Any) -> None:
    outside = uploads.parent / "outside.png"
    for name in (
        "../outside.png",
        "/outside.png",
        "a/../../outside.png",
        "..\\outside.png",
        "x/" * 9 + "a.png",
        "n" * 121,
    ):
        assert b"not an ordinary path" in send(zipped({**GOOD, name: picture()})).content, name
    link = zipped({**GOOD, "link.png": b"/etc/passwd"})
    with zipfile.ZipFile(io.BytesIO(link)) as archive:
        at = link.rindex(b"link.png") - 46 + 38  # external attributes in the central directory (APPNOTE 4.3.12)
        assert archive.getinfo("link.png")
    link = link[:at] + ((stat.S_IFLNK | 0o777) << 16).to_bytes(4, "little") + link[at + 4 :]
    assert b"it is a link" in send(link).content
    assert b"twice" in send(zipped({**GOOD, "A.PNG": picture()})).content
    assert b"neither a table" in send(zipped({**GOOD, "run.sh": b"#!/bin/sh"})).content
    assert b"of one name" in send(zipped({**GOOD, "a.png/b.png": picture()})).content
    monkeypatch.setattr(archives, "MOST_FILES", 3)
    assert b"3 files at most" in send(zipped({**GOOD, "c.png": picture()})).content
    short = bytearray(zipped({**GOOD, "c.png": picture()}))
    end = short.rindex(b"PK\5\6")
    short[end + 8 : end + 12] = b"\1\0\1\0"
    assert b"3 files at most" in send(bytes(short)).content, "The end names one file."
    assert b"neither a table" in send(zipped({"labels.csv.gz": gzip.compress(LABELS)})).content
    name = zipped({"a.png": picture(), "c.png": picture()}).replace(b"c.png", b"\xff.png")
    flagged = name[: name.rindex(b"PK\1\2") + 8] + b"\0\10" + name[name.rindex(b"PK\1\2") + 10 :]
    assert b"damaged" in send(flagged).content, "A name that says to be UTF-8 and is not."
    settings.MAX_UPLOAD_BYTES = 1024 * 1024
    bomb = zipped({**GOOD, "labels.csv": LABELS + b"\n" * 8 * 1024 * 1024}, method=zipfile.ZIP_DEFLATED)
    assert b"unpacks to more" in send(bomb).content
    assert not outside.exists()
    assert left(uploads) == []
    assert not EvaluationSet.objects.exists()


def test_a_name_leads_out_of_no_folder(db: None, uploads: Path, tmp_path: Path) -> None:
    archive = tmp_path / "films.zip"
    archive.write_bytes(zipped(GOOD))
    for name in ("../outside", "/outside", "", ".hidden"):
        with pytest.raises(InvalidInputError, match="letters, digits"):
            upload_evaluation_set(name=name, archive=archive)
    assert left(tmp_path) == ["films.zip"]


def test_operators_only(north: Hospital, sign_in: Any, uploads: Path) -> None:
    address = reverse("admin:evaluation_evaluationset_upload")
    for client in (Client(), sign_in(north, north.admin)):
        assert client.post(address, {"name": "own"}).status_code in (302, 403)
    assert left(uploads) == []

"""WADO-RS in this process: what is stored comes back byte for byte, and everything else as it is asked for."""

import hashlib
import io
import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pydicom
import pytest
from django.test import Client
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import UID, EncapsulatedPDFStorage

from apps.dicomweb.media_types import media_type_of_frames
from tests.conftest import Hospital
from tests.ml import samples
from tests.studies import objects

EXPLICIT_LE = "1.2.840.10008.1.2.1"
Store = Callable[..., Any]


def body_of(answer: Any) -> bytes:
    return b"".join(answer.streaming_content) if answer.streaming else answer.content


def json_of(answer: Any) -> Any:
    return json.loads(body_of(answer))


def parts_of(answer: Any) -> list[tuple[dict[str, str], bytes]]:
    """Headers and contents of a multipart/related answer, read without the code under test."""
    boundary = re.fullmatch(r'multipart/related; type="[^"]+"; boundary=(\S+)', answer["Content-Type"])[1]
    data = body_of(answer)
    assert data.endswith(f"--{boundary}--\r\n".encode())
    found = []
    for part in data.split(f"--{boundary}\r\n".encode())[1:]:
        head, _, content = part.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        found.append((headers, content.removesuffix(f"--{boundary}--\r\n".encode()).removesuffix(b"\r\n")))
    return found


def address(stored: Any) -> str:
    series = stored.instance.series
    return (
        f"/dicom-web/studies/{series.study.study_instance_uid}/series/{series.series_instance_uid}"
        f"/instances/{stored.instance.sop_instance_uid}"
    )


@pytest.fixture
def client(north: Hospital) -> Client:
    return Client(headers=north.bearer)


@pytest.fixture
def film(north: Hospital, store_film: Store) -> Any:
    return store_film(north, size=256, patient_name="Yamada^Tarou=山田^太郎=やまだ^たろう")


def test_an_instance_comes_back_byte_for_byte(client: Client, film: Any) -> None:
    for accept in ('multipart/related; type="application/dicom"; transfer-syntax=*', "*/*", None):
        headers = {} if accept is None else {"accept": accept}
        answer = client.get(address(film), headers=headers)
        assert answer.status_code == 200
        ((head, content),) = parts_of(answer)
        assert hashlib.sha256(content).hexdigest() == film.instance.sha256
        assert head["Content-Type"] == f"application/dicom; transfer-syntax={film.instance.transfer_syntax_uid}"
        assert head["Content-Location"].endswith(address(film))
    single = client.get(address(film), headers={"accept": "application/dicom;transfer-syntax=*"})
    assert hashlib.sha256(body_of(single)).hexdigest() == film.instance.sha256


def test_ranges_and_etags_of_one_file(client: Client, film: Any) -> None:
    accept = {"accept": "application/dicom"}
    whole = client.get(address(film), headers=accept)
    data, etag = body_of(whole), whole["ETag"]
    part = client.get(address(film), headers=accept | {"range": "bytes=10-19"})
    assert (part.status_code, body_of(part)) == (206, data[10:20])
    assert part["Content-Range"] == f"bytes 10-19/{len(data)}"
    assert body_of(client.get(address(film), headers=accept | {"range": "bytes=-4"})) == data[-4:]
    beyond = client.get(address(film), headers=accept | {"range": f"bytes={len(data)}-"})
    assert (beyond.status_code, beyond["Content-Range"]) == (416, f"bytes */{len(data)}")
    assert client.get(address(film), headers=accept | {"if-none-match": etag}).status_code == 304
    outdated = client.get(address(film), headers=accept | {"range": "bytes=0-1", "if-range": '"old"'})
    assert (outdated.status_code, body_of(outdated)) == (200, data)


SYNTAXES = [
    syntax for syntax in (*samples.LOSSLESS, samples.JPEG_BASELINE) if syntax not in (EXPLICIT_LE, samples.EXPLICIT_BE)
]


@pytest.fixture
def encoded(north: Hospital, send: Any) -> Callable[[str, Any], tuple[bytes, str]]:
    """Store an image with these pixels in a transfer syntax; returns its bytes and its address."""

    def stored(syntax: str, pixels: Any) -> tuple[bytes, str]:
        uids = {
            "SOPInstanceUID": f"1.2.3.{syntax}",
            "StudyInstanceUID": "1.2.3",
            "SeriesInstanceUID": "1.2.3.4",
        }
        data = samples.image_file(pixels, syntax, **uids)
        send(north, data)
        return data, f"/dicom-web/studies/1.2.3/series/1.2.3.4/instances/{uids['SOPInstanceUID']}"

    return stored


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_an_image_is_converted_only_where_it_must(client: Client, encoded: Any, syntax: str) -> None:
    pixels = samples.chest(bits=8).astype(np.uint8) if syntax == samples.JPEG_BASELINE else samples.chest()
    data, path = encoded(syntax, pixels)
    original = pydicom.dcmread(io.BytesIO(data))
    ((head, content),) = parts_of(client.get(path, headers={"accept": "multipart/related; type=application/dicom"}))
    assert head["Content-Type"].endswith(EXPLICIT_LE)
    plain = pydicom.dcmread(io.BytesIO(content))
    assert plain.file_meta.TransferSyntaxUID == EXPLICIT_LE
    assert plain.PatientName == original.PatientName
    if syntax == samples.JPEG_BASELINE:
        assert np.abs(plain.pixel_array.astype(int) - pixels).max() < 16
        assert plain.LossyImageCompression == "01"
    else:
        assert np.array_equal(plain.pixel_array, pixels)
    for asked in (syntax, f'"{syntax}"', "*"):
        accept = f'multipart/related; type="application/dicom"; transfer-syntax={asked}'
        ((head, content),) = parts_of(client.get(path, headers={"accept": accept}))
        assert content == data
        assert head["Content-Type"] == f"application/dicom; transfer-syntax={syntax}"
    refused = client.get(path, headers={"accept": "application/dicom; transfer-syntax=1.2.840.10008.1.2.4.100"})
    assert refused.status_code == 406
    assert syntax in refused.json()["detail"]
    assert f"{EXPLICIT_LE}." in refused.json()["detail"]


@pytest.mark.parametrize("syntax", [EXPLICIT_LE, *SYNTAXES])
def test_frames(client: Client, encoded: Any, syntax: str) -> None:
    pixels = samples.chest(bits=8).astype(np.uint8) if syntax == samples.JPEG_BASELINE else samples.chest()
    _, path = encoded(syntax, pixels)
    octets = {"accept": 'multipart/related; type="application/octet-stream"'}
    ((head, decoded),) = parts_of(client.get(f"{path}/frames/1", headers=octets))
    assert head["Content-Type"] == f"application/octet-stream; transfer-syntax={EXPLICIT_LE}"
    if syntax != samples.JPEG_BASELINE:
        assert decoded == pixels.astype("<u2").tobytes()
    single = client.get(f"{path}/frames/1", headers={"accept": "application/octet-stream"})
    assert body_of(single) == decoded
    ((head, content),) = parts_of(client.get(f"{path}/frames/1"))
    if syntax in (samples.NATIVE):
        assert content == decoded
    else:
        stored = samples.encode(pixels, syntax, 8 if syntax == samples.JPEG_BASELINE else 12)
        assert content.rstrip(b"\0") == stored.rstrip(b"\0")
        assert head["Content-Type"] == f"{media_type_of_frames(syntax)}; transfer-syntax={syntax}"
        loose = {"accept": "multipart/related; type=application/octet-stream; transfer-syntax=*"}
        ((head, same),) = parts_of(client.get(f"{path}/frames/1", headers=loose))
        assert same == content
        assert head["Content-Type"] == f"application/octet-stream; transfer-syntax={syntax}"
    assert client.get(f"{path}/frames/2").status_code == 404
    assert client.get(f"{path}/frames/0").status_code == 400
    assert client.get(f"{path}/frames/1", headers={"accept": "video/mp4"}).status_code == 406


def test_metadata_names_bulk_data_that_can_be_had(client: Client, film: Any) -> None:
    answer = client.get(f"{address(film)}/metadata")
    assert answer["Content-Type"] == "application/dicom+json"
    (dataset,) = json_of(answer)
    assert list(dataset) == sorted(dataset)
    assert dataset["00080005"]["Value"] == ["ISO_IR 192"]
    assert dataset["00100010"]["Value"] == [
        {"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎", "Phonetic": "やまだ^たろう"}
    ]
    assert all(element.get("Value") != [] for element in dataset.values())
    uri = dataset["7FE00010"]["BulkDataURI"]
    stored = pydicom.dcmread(io.BytesIO(body_of(client.get(address(film), headers={"accept": "application/dicom"}))))
    bulk = client.get(uri, headers={"accept": "application/octet-stream"})
    assert body_of(bulk) == stored.PixelData
    ((_, content),) = parts_of(client.get(uri))
    assert content == stored.PixelData
    again = pydicom.Dataset.from_json(dataset, bulk_data_uri_handler=lambda _: stored.PixelData)
    assert again.PatientName == stored.PatientName
    assert client.get(f"{address(film)}/metadata", headers={"if-none-match": answer["ETag"]}).status_code == 304
    assert client.get(f"{address(film)}/bulkdata/00091001").status_code == 404
    assert client.get(f"{address(film)}/bulkdata/../../etc").status_code in (400, 404)


def test_the_pixel_data_of_several_frames_is_one_value_unless_it_is_compressed(
    client: Client, north: Hospital, send: Any
) -> None:
    study = "1.2.826.0.1.80"
    send(north, objects.image(study, 1, change=objects.two_frames))
    send(north, objects.image(study, 2, change=two_jpeg_frames))
    plain, compressed = (
        json_of(client.get(f"/dicom-web/studies/{study}/series/{study}.1/instances/{study}.1.{number}/metadata"))[0]
        for number in (1, 2)
    )
    uri = plain["7FE00010"]["BulkDataURI"]
    ((head, value),) = parts_of(client.get(uri))
    assert (head["Content-Location"], len(value)) == (uri, 2 * 256 * 256 * 2)
    assert body_of(client.get(uri, headers={"accept": "application/octet-stream"})) == value
    uri = compressed["7FE00010"]["BulkDataURI"]
    frames = parts_of(client.get(uri))
    assert [head["Content-Location"] for head, _ in frames] == [f"{uri}/frames/1", f"{uri}/frames/2"]
    assert {content[:2] for _, content in frames} == {b"\xff\xd8"}
    assert client.get(uri, headers={"accept": "image/jpeg"}).status_code == 406
    ((_, value),) = parts_of(client.get(uri, headers={"accept": 'multipart/related; type="application/octet-stream"'}))
    assert len(value) == 2 * 96 * 80


def two_jpeg_frames(dataset: pydicom.FileDataset) -> None:
    dataset.NumberOfFrames, dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 2, 8, 8, 7
    pixels = samples.chest(bits=8).astype(np.uint8)
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.PixelData = encapsulate([samples.encode(pixels, samples.JPEG_BASELINE, 8)] * 2)
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = UID(samples.JPEG_BASELINE)


def test_an_encapsulated_pdf_is_had_as_what_it_is(client: Client, north: Hospital, send: Any) -> None:
    study, pdf = "1.2.826.0.1.81", b"%PDF-1.7 " + b"x" * 2000
    send(north, objects.document(study, EncapsulatedPDFStorage, EncapsulatedDocument=pdf + b"\0"))
    (dataset,) = json_of(client.get(f"/dicom-web/studies/{study}/metadata"))
    uri = dataset["00420011"]["BulkDataURI"]
    answer = client.get(f"{uri}?accept=application/pdf")
    assert (answer["Content-Type"], body_of(answer).rstrip(b"\0")) == ("application/pdf", pdf)
    assert parts_of(client.get(uri))[0][0]["Content-Type"] == "application/octet-stream"


def test_pictures(client: Client, film: Any) -> None:
    picture = Image.open(io.BytesIO(client.get(f"{address(film)}/rendered").content))
    assert (picture.format, picture.size, picture.mode) == ("JPEG", (256, 256), "L")
    png = client.get(f"{address(film)}/rendered?viewport=100,50", headers={"accept": "image/png;q=0.9, image/jp2"})
    assert Image.open(io.BytesIO(png.content)).size == (50, 50)
    dark = client.get(f"{address(film)}/rendered?window=60000,10,linear", headers={"accept": "image/png"})
    assert np.asarray(Image.open(io.BytesIO(dark.content))).max() == 0
    assert len(client.get(f"{address(film)}/rendered?quality=5").content) < len(
        client.get(f"{address(film)}/rendered?quality=95").content
    )
    flipped = client.get(f"{address(film)}/rendered?viewport=256,256,0,0,-256,256", headers={"accept": "image/png"})
    straight = client.get(f"{address(film)}/rendered", headers={"accept": "image/png"})
    left, right = (np.asarray(Image.open(io.BytesIO(each.content))) for each in (flipped, straight))
    assert np.array_equal(left[:, ::-1], right)
    assert "annotation" in client.get(f"{address(film)}/rendered?annotation=patient")["Warning"]
    study = address(film).split("/series/")[0]
    assert Image.open(io.BytesIO(client.get(f"{study}/thumbnail").content)).size == (256, 256)
    ((head, _),) = parts_of(client.get(f"{study}/rendered"))
    assert head["Content-Type"] == "image/jpeg"
    for bad in (
        "quality=0",
        "quality=x",
        "window=1",
        "window=1,0,linear",
        "window=nan,1",
        "viewport=1",
        "viewport=9e9,1",
    ):
        assert client.get(f"{address(film)}/rendered?{bad}").status_code == 400, bad
    assert client.get(f"{address(film)}/rendered", headers={"accept": "application/dicom"}).status_code == 406


def test_the_metadata_of_a_study_is_never_whole_in_memory(client: Client, north: Hospital, send: Any) -> None:
    study = "1.2.826.0.1.82"
    for number in (1, 2, 3):
        send(north, objects.image(study, number))
    answer = client.get(f"/dicom-web/studies/{study}/metadata")
    assert answer.streaming
    uids = [dataset["00080018"]["Value"][0] for dataset in json_of(answer)]
    assert uids == [f"{study}.1.{number}" for number in (1, 2, 3)]

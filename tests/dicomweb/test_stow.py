"""STOW-RS through the production server."""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from xml.etree import ElementTree

import pydicom
import pytest
import requests
from dicomweb_client.api import DICOMwebClient
from pydicom.config import IGNORE
from pydicom.dataelem import DataElement
from pydicom.uid import ComprehensiveSRStorage

from apps.inference.models import InferenceJob
from apps.studies.models import Instance, Study
from apps.tenants.models import ApiScope
from apps.tenants.scope import tenant_tx
from apps.tenants.services import create_api_key
from tests.conftest import Hospital
from tests.dicomweb.web import MULTIPART, WebServer, multipart, values
from tests.studies import objects

Film = Callable[..., bytes]


def dataset_of(film: bytes) -> pydicom.Dataset:
    return pydicom.dcmread(BytesIO(film), stop_before_pixels=True)


def count(hospital: Hospital) -> tuple[int, int, int]:
    """Studies, instances and jobs of a hospital."""
    with tenant_tx(hospital.tenant.id):
        return Study.objects.count(), Instance.objects.count(), InferenceJob.objects.count()


def test_many_instances_in_one_request(web: WebServer, north: Hospital, film: Film) -> None:
    films = [film(seed) for seed in (1, 2, 3)]
    answer = web.stow(north.api_key, films)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/dicom+json"
    stored = values(answer.json(), "00081199")
    assert {values(item, "00081155")[0] for item in stored} == {dataset_of(each).SOPInstanceUID for each in films}
    first = next(item for item in stored if values(item, "00081155")[0] == dataset_of(films[0]).SOPInstanceUID)
    known = dataset_of(films[0])
    assert values(first, "00081150") == [known.SOPClassUID]
    (retrieve_url,) = values(first, "00081190")
    got = requests.get(retrieve_url, headers=north.bearer | {"Accept": "application/dicom"}, timeout=60)
    assert got.content == films[0]
    # Table I.1-1 of PS3.18 and nothing else.
    assert set(answer.json()) | set(first) <= {"00081190", "00081199", "00081150", "00081155"}
    assert "00081198" not in answer.json()
    assert count(north) == (3, 3, 3)
    with tenant_tx(north.tenant.id):
        assert set(Instance.objects.values_list("sha256", flat=True)) == {
            hashlib.sha256(each).hexdigest() for each in films
        }


def test_a_whole_study_with_its_documents(web: WebServer, north: Hospital, south: Hospital) -> None:
    study = "1.2.826.0.1.55"
    parts = [
        objects.document(study, ComprehensiveSRStorage),
        objects.image(study, 1),
        objects.image(study, 2, change=objects.two_frames),
        objects.rejection_note(study, [f"{study}.1.1"], 2),
    ]
    answer = web.stow(north.api_key, parts, study=f"/{study}")
    assert answer.status_code == 200, answer.headers.get("Warning")
    assert len(values(answer.json(), "00081199")) == 4
    assert count(north) == (1, 4, 1)
    assert web.stow(south.api_key, [objects.document(study, ComprehensiveSRStorage)]).status_code == 200
    assert count(south) == (1, 1, 0)
    address = f"{web.url}/api/v1/studies/{study}/"
    body = requests.get(address, headers=south.bearer, timeout=60).json()
    assert (body["status"], body["report_status"], body["findings"]) == ("received", None, [])


def test_study_in_the_address(web: WebServer, north: Hospital, film: Film) -> None:
    one, other = film(1), film(2)
    uid = dataset_of(one).StudyInstanceUID
    answer = web.stow(north.api_key, [one, other], study=f"/{uid}")
    assert answer.status_code == 202
    failed = values(answer.json(), "00081198")
    assert [values(item, "00081155") for item in failed] == [[dataset_of(other).SOPInstanceUID]]
    assert values(failed[0], "00081197") == [0xA900]
    assert answer.headers["Warning"] == '299 checxray "Not stored: study-does-not-match"'
    assert web.stow(north.api_key, [one], study="/1..2").status_code == 400


def test_same_bytes_again_change_nothing(web: WebServer, north: Hospital, film: Film) -> None:
    for _ in range(3):
        answer = web.stow(north.api_key, [film(1), film(1)])
        assert answer.status_code == 200
        assert len(values(answer.json(), "00081199")) == 2
    assert count(north) == (1, 1, 1)


def test_other_bytes_under_a_known_uid_are_refused(web: WebServer, north: Hospital, film: Film) -> None:
    uid = dataset_of(film(1)).SOPInstanceUID
    changed = film(1, sop_uid=uid, accession_number="CHANGED")
    assert web.stow(north.api_key, [film(1)]).status_code == 200
    answer = web.stow(north.api_key, [changed])
    assert answer.status_code == 409
    (failed,) = values(answer.json(), "00081198")
    assert values(failed, "00081155") == [uid]
    assert values(failed, "00081197") == [0x0111]
    assert count(north) == (1, 1, 1)


def test_a_study_of_another_patient_is_stored_with_a_warning(web: WebServer, north: Hospital, film: Film) -> None:
    study = dataset_of(film(1)).StudyInstanceUID
    assert web.stow(north.api_key, [film(1)]).status_code == 200
    answer = web.stow(north.api_key, [film(2, study_uid=study, patient_id="SOMEBODY-ELSE")])
    assert answer.status_code == 202
    assert "demographics-conflict" in answer.headers["Warning"]
    (stored,) = values(answer.json(), "00081199")
    assert values(stored, "00081196") == [0xB000]
    # The image that names another patient is stored and not read.
    assert count(north) == (1, 2, 1)


def test_what_is_odd_is_stored_and_named(web: WebServer, north: Hospital) -> None:
    def change(dataset: pydicom.Dataset) -> None:
        dataset["PatientID"] = DataElement("PatientID", "LO", "P" * 80, validation_mode=IGNORE)

    data = objects.image("1.2.826.0.1.82", change=change, HighBit=None)
    answer = web.stow(north.api_key, [data])
    assert answer.status_code == 200
    assert answer.headers["Warning"] == '299 checxray "Stored with a warning: high-bit-absent, text-shortened"'
    (stored,) = values(answer.json(), "00081199")
    assert values(stored, "00081196") == [0xB007]


def test_two_hospitals_own_the_same_uid(web: WebServer, north: Hospital, south: Hospital, film: Film) -> None:
    uid = dataset_of(film(1)).SOPInstanceUID
    assert web.stow(north.api_key, [film(1)]).status_code == 200
    assert web.stow(south.api_key, [film(1, sop_uid=uid, accession_number="SOUTH")]).status_code == 200
    assert count(north) == count(south) == (1, 1, 1)


def test_fifty_at_once_are_one(web: WebServer, north: Hospital, film: Film) -> None:
    with ThreadPoolExecutor(max_workers=16) as pool:
        answers = list(pool.map(lambda _: web.stow(north.api_key, [film(1)]).status_code, range(50)))
    assert set(answers) == {200}
    assert count(north) == (1, 1, 1)


def test_crossing_requests_do_not_deadlock(web: WebServer, north: Hospital, film: Film) -> None:
    films = [film(seed) for seed in range(1, 7)]
    orders = [films, films[::-1], films[::2] + films[1::2]] * 4
    with ThreadPoolExecutor(max_workers=6) as pool:
        answers = list(pool.map(lambda order: web.stow(north.api_key, order).status_code, orders))
    assert set(answers) == {200}
    assert count(north) == (6, 6, 6)


def test_good_and_bad_in_one_request(web: WebServer, north: Hospital, film: Film) -> None:
    png = b"\x89PNG\r\n\x1a\n" + b"\x00\x00\x00\rIHDR\x00\x00\x01\x00\x00\x00\x01\x00\x08\x00\x00\x00\x00" + bytes(64)
    answer = web.stow(north.api_key, [b"no film at all", film(1), b"", png])
    assert answer.status_code == 202
    assert len(values(answer.json(), "00081199")) == 1
    others = values(answer.json(), "0008119A")
    assert [values(item, "00081197") for item in others] == [[0xC000]] * 3
    assert count(north) == (1, 1, 1)


def test_a_refused_instance_is_named_by_its_file_meta(web: WebServer, north: Hospital, film: Film) -> None:
    dataset = pydicom.dcmread(BytesIO(film(1)))
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    target = BytesIO()
    dataset.save_as(target)
    answer = web.stow(north.api_key, [target.getvalue()])
    assert answer.status_code == 409
    (failed,) = values(answer.json(), "00081198")
    assert values(failed, "00081155") == [dataset.SOPInstanceUID]
    assert values(failed, "00081197") == [0x0122]


def test_one_object_as_the_whole_body(web: WebServer, north: Hospital, film: Film) -> None:
    headers = north.bearer | {"Content-Type": "application/dicom"}
    url = f"{web.url}/dicom-web/studies"
    assert requests.post(url, data=film(1), headers=headers, timeout=60).status_code == 200
    assert requests.post(url, data=b"", headers=headers, timeout=60).status_code == 400
    chunks = iter([film(2)[:1000], film(2)[1000:]])
    assert requests.post(url, data=chunks, headers=headers, timeout=60).status_code == 200
    assert count(north) == (2, 2, 2)


def test_chunked_transfer(web: WebServer, north: Hospital, film: Film) -> None:
    body = multipart([film(1), film(2)])
    chunks = (body[start : start + 7001] for start in range(0, len(body), 7001))
    headers = north.bearer | {"Content-Type": MULTIPART}
    answer = requests.post(f"{web.url}/dicom-web/studies", data=chunks, headers=headers, timeout=60)
    assert answer.status_code == 200
    assert count(north) == (2, 2, 2)


def test_xml_where_only_xml_is_accepted(web: WebServer, north: Hospital, film: Film) -> None:
    answer = web.stow(north.api_key, [film(1), b"nothing"], Accept="application/dicom+xml")
    assert answer.status_code == 202
    assert answer.headers["Content-Type"] == "application/dicom+xml"
    model = "{http://dicom.nema.org/PS3.19/models/NativeDICOM}"
    root = ElementTree.fromstring(answer.content)  # noqa: S314
    stored = root.findall(f"{model}DicomAttribute[@keyword='ReferencedSOPSequence']/{model}Item")
    uids = stored[0].findall(f"{model}DicomAttribute[@keyword='ReferencedSOPInstanceUID']/{model}Value")
    assert [uid.text for uid in uids] == [dataset_of(film(1)).SOPInstanceUID]
    assert web.stow(north.api_key, [film(1)], Accept="image/png").status_code == 406
    assert web.stow(north.api_key, [film(1)], Accept="application/json").status_code == 200


def test_who_may_store(web: WebServer, north: Hospital, film: Film) -> None:
    with tenant_tx(north.tenant.id):
        _, reader = create_api_key(name="reader", scopes=[ApiScope.READ])
    anonymous = requests.post(f"{web.url}/dicom-web/studies", data=b"", headers={"Content-Type": MULTIPART}, timeout=60)
    assert anonymous.status_code == 401
    assert anonymous.headers["Content-Type"] == "application/problem+json"
    assert web.stow("chx_forged.key", [film(1)]).status_code == 401
    refused = web.stow(reader, [film(1)])
    assert refused.status_code == 403
    assert refused.json()["detail"]
    assert count(north) == (0, 0, 0)


@pytest.mark.parametrize(
    ("method", "address", "status"),
    [
        ("PUT", "studies", 405),
        ("DELETE", "studies/1.2", 405),
        ("GET", "studies/1.2/series", 404),
        ("HEAD", "nothing", 404),
    ],
)
def test_what_is_not_offered(web: WebServer, north: Hospital, method: str, address: str, status: int) -> None:
    answer = requests.request(method, f"{web.url}/dicom-web/{address}", headers=north.bearer, timeout=60)
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_options_say_what_is_taken(web: WebServer, north: Hospital) -> None:
    answer = requests.options(f"{web.url}/dicom-web/studies", headers=north.bearer, timeout=60)
    assert answer.status_code == 204
    assert "application/dicom" in answer.headers["Accept-Post"]
    assert "POST" in answer.headers["Allow"]


def test_dicomweb_client(web: WebServer, north: Hospital, film: Film) -> None:
    client = DICOMwebClient(f"{web.url}/dicom-web", headers=north.bearer)
    answer = client.store_instances([pydicom.dcmread(BytesIO(film(seed))) for seed in (1, 2)])
    assert len(answer.ReferencedSOPSequence) == 2
    assert "FailedSOPSequence" not in answer
    assert count(north) == (2, 2, 2)


def test_no_spool_file_stays_behind(web: WebServer, north: Hospital, film: Film, settings: object) -> None:
    web.stow(north.api_key, [film(1), b"bad"])
    assert [path for path in settings.SPOOL_DIR.rglob("*") if path.is_file()] == []

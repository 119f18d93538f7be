"""The production server and a real client: search, retrieval and bulk data."""

import io
from typing import Any

import pydicom
import pytest
import requests
from dicomweb_client.api import DICOMwebClient
from PIL import Image

from apps.studies.models import Instance
from apps.tenants.scope import tenant_tx
from tests.conftest import Hospital
from tests.dicomweb.web import WebServer
from tests.studies import objects


@pytest.fixture
def client(web: WebServer, north: Hospital) -> DICOMwebClient:
    return DICOMwebClient(f"{web.url}/dicom-web", headers=north.bearer)


@pytest.mark.peer("dicomweb-client", "STOW-RS, QIDO-RS and WADO-RS")
def test_dicomweb_client(client: DICOMwebClient, web: WebServer, north: Hospital) -> None:
    study = "1.2.826.0.1.77"
    sent = [objects.image(study, 1), objects.image(study, 2), objects.document(study, "1.2.840.10008.5.1.4.1.1.88.33")]
    assert web.stow(north.api_key, sent).status_code == 200
    (found,) = client.search_for_studies(search_filters={"PatientID": "P1"}, fields=["StudyDescription"])
    assert found["0020000D"]["Value"] == [study]
    assert client.search_for_studies(search_filters={"PatientID": "P2"}) == []
    # It asks for pages until one is empty.
    assert len(client.search_for_instances(study, get_remaining=True, limit=2)) == 3
    series = f"{study}.1"
    assert [
        each["0020000E"]["Value"] for each in client.search_for_series(study, search_filters={"Modality": "DX"})
    ] == [[series]]
    instances = client.retrieve_study(study)
    assert sorted(str(each.SOPInstanceUID) for each in instances) == sorted(
        str(pydicom.dcmread(io.BytesIO(each)).SOPInstanceUID) for each in sent
    )
    one = client.retrieve_instance(study, series, f"{series}.1")
    original = pydicom.dcmread(io.BytesIO(sent[0]))
    assert one == original
    (frame,) = client.retrieve_instance_frames(study, series, f"{series}.1", [1])
    assert frame == original.PixelData
    metadata = client.retrieve_series_metadata(study, series)
    assert len(metadata) == 2
    # The client sends a Host header without its port, which addresses in answers follow.
    uri = metadata[0]["7FE00010"]["BulkDataURI"].replace("http://127.0.0.1/", f"{web.url}/")
    (bulk,) = client.retrieve_bulkdata(uri)
    assert bulk == original.PixelData
    picture = client.retrieve_instance_rendered(study, series, f"{series}.1", media_types=("image/png",))
    assert Image.open(io.BytesIO(picture)).size == (256, 256)
    with pytest.raises(requests.HTTPError) as missing:
        client.retrieve_instance(study, series, "1.2.3")
    assert missing.value.response.status_code == 404


def test_a_damaged_object_is_an_error_and_no_200(web: WebServer, north: Hospital) -> None:
    """Its size is right, so only its bytes show the damage, after the answer was begun."""
    from apps.studies.storage import object_store

    study = "1.2.826.0.1.78"
    assert web.stow(north.api_key, [objects.image(study, 1), objects.image(study, 2)]).status_code == 200
    with tenant_tx(north.tenant.id):
        instance = Instance.objects.order_by("pk").last()
    store: Any = object_store()
    path = store.path(instance.object_key)
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.seek(-10, 2)
        file.write(b"\xff" * 10)
    answer = requests.get(f"{web.url}/dicom-web/studies/{study}", headers=north.bearer, timeout=30)
    assert answer.status_code == 503
    assert answer.json()["code"] == "object-damaged"

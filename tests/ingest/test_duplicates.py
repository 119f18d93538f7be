"""The same instance from different senders and in different encodings is stored once."""

from collections.abc import Callable
from io import BytesIO
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pydicom
import pytest
from django.core.files.storage import default_storage
from django.test import Client
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from apps.dimse.store import Arrival, store_arrival
from apps.inference.models import InferenceJob
from apps.routing.selectors import Caller
from apps.studies.models import Instance, object_key
from apps.tenants.scope import tenant_tx
from tests.conftest import PEER, Hospital
from tests.dicomweb.web import MULTIPART, multipart, values

SUCCESS, DUPLICATE = 0x0000, 0x0111


def encoded(path: Path, syntax: str, **changes: Any) -> bytes:
    data_set = pydicom.dcmread(path)
    for keyword, value in changes.items():
        setattr(data_set, keyword, value)
    data_set.file_meta.TransferSyntaxUID = syntax
    data_set.file_meta.ImplementationVersionName = "ARCHIVE"
    buffer = BytesIO()
    pydicom.dcmwrite(buffer, data_set, enforce_file_format=True)
    return buffer.getvalue()


def c_store(tmp_path: Path, data: bytes) -> int:
    data_set = pydicom.dcmread(BytesIO(data), stop_before_pixels=True)
    path = tmp_path / "received.dcm"
    path.write_bytes(data)
    return store_arrival(
        Arrival(
            path=path,
            caller=Caller(called="NORTH", calling=PEER, address=ip_address("127.0.0.1")),
            sop_class_uid=data_set.SOPClassUID,
            sop_instance_uid=data_set.SOPInstanceUID,
            transfer_syntax_uid=data_set.file_meta.TransferSyntaxUID,
        )
    )


def stow(hospital: Hospital, *instances: bytes) -> Any:
    return Client().post("/dicom-web/studies", multipart(instances), content_type=MULTIPART, headers=hospital.bearer)


def stored(hospital: Hospital) -> tuple[list[str], list[str], int]:
    """The SHA-256 of all instances and of all objects, and the number of jobs."""
    folder = Path(default_storage.path(f"t/{hospital.tenant.id}"))
    with tenant_tx(hospital.tenant.id):
        rows = sorted(Instance.objects.values_list("sha256", flat=True))
        return rows, sorted(path.name for path in folder.iterdir()), InferenceJob.objects.count()


def test_one_image_by_four_routes_is_one_instance(
    north: Hospital, make_film: Callable[..., Path], tmp_path: Path
) -> None:
    path = make_film(size=128)
    explicit, implicit = encoded(path, ExplicitVRLittleEndian), encoded(path, ImplicitVRLittleEndian)
    assert c_store(tmp_path, path.read_bytes()) == SUCCESS
    first = stored(north)
    assert (len(first[0]), first[2]) == (1, 1)
    for data in (path.read_bytes(), explicit, implicit):
        answer = stow(north, data)
        assert answer.status_code == 200
        assert len(values(answer.json(), "00081199")) == 1
    assert stow(north, implicit, make_film(seed=2, size=128).read_bytes()).status_code == 200
    for data in (explicit, implicit):
        assert c_store(tmp_path, data) == SUCCESS
    rows, objects, jobs = stored(north)
    assert (len(rows), jobs) == (2, 2)
    assert rows == objects, "Nothing is kept of what was known."
    assert first[0][0] in rows


def test_other_content_stays_a_conflict_and_leaves_nothing(
    north: Hospital, make_film: Callable[..., Path], tmp_path: Path
) -> None:
    path = make_film(size=128)
    assert stow(north, path.read_bytes()).status_code == 200
    before = stored(north)
    other = encoded(path, ImplicitVRLittleEndian, ViewPosition="AP")
    answer = stow(north, other)
    assert answer.status_code == 409
    assert values(values(answer.json(), "00081198")[0], "00081197") == [DUPLICATE]
    assert c_store(tmp_path, other) == DUPLICATE
    assert stored(north) == before


@pytest.mark.parametrize("lost", ["missing", "flipped"])
def test_another_route_restores_an_object_that_is_lost(
    lost: str, north: Hospital, make_film: Callable[..., Path], tmp_path: Path
) -> None:
    path = make_film(size=128)
    assert stow(north, path.read_bytes()).status_code == 200
    with tenant_tx(north.tenant.id):
        instance = Instance.objects.get()
        InferenceJob.objects.update(state="rejected", reason_code=f"object-{lost}", finished=instance.received)
    kept = Path(default_storage.path(instance.object_key))
    data = bytearray(kept.read_bytes())
    kept.unlink()
    if lost == "flipped":
        data[-1] ^= 1
        kept.write_bytes(data)
    assert stow(north, encoded(path, ExplicitVRLittleEndian, Rows=64)).status_code == 409, "This is not the instance."
    assert c_store(tmp_path, encoded(path, ImplicitVRLittleEndian)) == SUCCESS
    with tenant_tx(north.tenant.id):
        restored = Instance.objects.get()
        assert (restored.pk, restored.transfer_syntax_uid) == (instance.pk, ImplicitVRLittleEndian)
        assert default_storage.exists(object_key(north.tenant.id, restored.sha256))
        assert list(InferenceJob.objects.order_by("id").values_list("state", flat=True)) == ["rejected", "queued"]

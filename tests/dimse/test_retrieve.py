"""C-MOVE and C-GET against the real process, with DCMTK, pynetdicom and Orthanc as peers."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pydicom
import pytest
import requests
from pydicom.dataset import Dataset
from pydicom.uid import ComprehensiveSRStorage
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import DigitalXRayImageStorageForPresentation  # type: ignore[attr-defined]

from apps.audit.models import AuditEvent
from apps.dimse.contexts import STUDY_ROOT_GET, STUDY_ROOT_MOVE
from apps.routing.models import Peer
from apps.studies.models import Instance
from apps.tenants.scope import tenant_tx
from tests.conftest import PEER, Hospital
from tests.dicomweb.web import free_port
from tests.dimse.listening import ListenerProcess
from tests.dimse.peers import TITLE, run, storescp
from tests.orthanc import orthanc
from tests.studies import objects

A = "1.2.826.0.1.18.1"
EXPLICIT, IMPLICIT, JPEG_LS = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.4.80"


@pytest.fixture
def study(north: Hospital, south: Hospital, send: Callable[..., Any]) -> list[str]:
    """A study of two images and a report; another hospital has an image with the UID of the first, and other pixels."""
    for number in (1, 2):
        send(north, objects.image(A, number))
    send(north, objects.document(A, ComprehensiveSRStorage))
    send(south, objects.image(A, 1, patient_id="SECRET"))
    with tenant_tx(north.tenant.id):
        return list(Instance.objects.order_by("pk").values_list("sop_instance_uid", flat=True))


@contextmanager
def listed(hospital: Hospital, port: int, title: str = TITLE) -> Iterator[None]:
    """The hospital's list has this application with its host, in a network that the operator allows."""
    hospital.tenant.private_networks = "127.0.0.0/8"
    hospital.tenant.save()
    with tenant_tx(hospital.tenant.id):
        peer = Peer(ae_title=title, network="127.0.0.1/32", host="127.0.0.1", port=port)
        peer.save()
    yield
    with tenant_tx(hospital.tenant.id):
        peer.delete()


def arguments(*keys: str) -> list[str]:
    return [argument for key in keys for argument in ("-k", key)]


@pytest.mark.peer("DCMTK", "C-MOVE from us")
@pytest.mark.parametrize(("option", "syntax"), [("+xa", EXPLICIT), ("+xi", IMPLICIT)])
def test_movescu_to_storescp(
    listener: ListenerProcess, north: Hospital, study: list[str], tmp_path: Path, option: str, syntax: str
) -> None:
    with storescp(tmp_path / "in", option) as receiver, listed(north, receiver.port):
        done = run(
            "movescu", "-v", "-S", "-aet", PEER, "-aec", "NORTH", "-aem", TITLE, "127.0.0.1", str(listener.port),
            *arguments("QueryRetrieveLevel=STUDY", f"StudyInstanceUID={A}"),
        )  # fmt: skip
        received = receiver.received()
        with tenant_tx(north.tenant.id):
            assert Peer.objects.get(ae_title=TITLE).last_reached is not None
    assert done.returncode == 0, done.stdout
    assert "Success" in done.stdout
    assert sorted(each.SOPInstanceUID for each in received) == sorted(study)
    assert {each.file_meta.TransferSyntaxUID for each in received} == {syntax}
    assert "SECRET" not in {each.PatientID for each in received}
    with tenant_tx(north.tenant.id):
        line = AuditEvent.objects.get(action=AuditEvent.Action.INSTANCES_RETRIEVED)
        assert (line.operation, line.amount) == (f"dimse:c-move {TITLE}", 3)


@pytest.mark.peer("DCMTK", "C-GET from us")
def test_getscu(listener: ListenerProcess, study: list[str], tmp_path: Path) -> None:
    done = run(
        "getscu", "-S", "-aet", PEER, "-aec", "NORTH", "-od", str(tmp_path), "127.0.0.1", str(listener.port),
        *arguments("QueryRetrieveLevel=SERIES", f"StudyInstanceUID={A}", f"SeriesInstanceUID={A}.1"),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    received = [pydicom.dcmread(path) for path in tmp_path.iterdir()]
    assert sorted(each.SOPInstanceUID for each in received) == [f"{A}.1.1", f"{A}.1.2"]
    assert {each.PatientID for each in received} == {"P1"}


def identifier(level: str = "STUDY", **keys: Any) -> Dataset:
    asked = Dataset()
    asked.QueryRetrieveLevel = level
    for keyword, value in {"StudyInstanceUID": A, **keys}.items():
        setattr(asked, keyword, value)
    return asked


def move(listener: ListenerProcess, destination: str = TITLE, asked: Dataset | None = None) -> list[Any]:
    """Status and identifier of each response."""
    entity = AE(PEER)
    entity.add_requested_context(STUDY_ROOT_MOVE)
    association = entity.associate("127.0.0.1", listener.port, ae_title="NORTH")
    answers = list(association.send_c_move(asked or identifier(), destination, STUDY_ROOT_MOVE))
    association.release()
    return answers


def test_failed_sub_operations_are_counted_and_listed(
    listener: ListenerProcess, north: Hospital, study: list[str]
) -> None:
    seen: list[Any] = []

    def store(event: evt.Event) -> int:
        seen.append(event.request)
        return [0xA700, 0xB000][len(seen) - 1]

    port = free_port()
    entity = AE(TITLE)
    entity.add_supported_context(DigitalXRayImageStorageForPresentation)
    server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    try:
        with listed(north, port):
            *pending, (last, failed) = move(listener)
    finally:
        server.shutdown()
    assert [status.Status for status, _ in pending] == [0xFF00, 0xFF00]
    assert [status.NumberOfRemainingSuboperations for status, _ in pending] == [2, 1]
    counts = (last.NumberOfCompletedSuboperations, last.NumberOfFailedSuboperations, last.NumberOfWarningSuboperations)
    assert (last.Status, counts) == (0xB000, (0, 2, 1))
    # The report found no context, and the first image was refused.
    assert sorted(failed.FailedSOPInstanceUIDList) == sorted([study[0], study[2]])
    assert {each.MoveOriginatorApplicationEntityTitle for each in seen} == {PEER}


def test_destinations_that_cannot_be_used(listener: ListenerProcess, north: Hospital, study: list[str]) -> None:
    ((last, _),) = move(listener, "ELSEWHERE")
    assert last.Status == 0xA801
    ((last, _),) = move(listener, PEER)
    assert last.Status == 0xA801
    with listed(north, free_port()):
        *_, (last, failed) = move(listener)
        with tenant_tx(north.tenant.id):
            assert Peer.objects.get(ae_title=TITLE).last_problem == "no-answer"
        assert (last.Status, last.NumberOfFailedSuboperations) == (0xA702, 3)
        assert sorted(failed.FailedSOPInstanceUIDList) == sorted(study)
        ((last, _),) = move(listener, asked=identifier("IMAGE", SOPInstanceUID=study[0]))
        assert last.Status == 0xA900
        ((last, _),) = move(listener, asked=identifier(StudyInstanceUID="1.2.3"))
        assert (last.Status, last.NumberOfCompletedSuboperations) == (0x0000, 0)
        with tenant_tx(north.tenant.id):
            Peer.objects.filter(ae_title=PEER).update(is_send_only=True)
        ((last, _),) = move(listener)
        assert last.Status == 0x0124


@pytest.mark.peer("pynetdicom", "C-GET from us")
def test_get_chooses_the_context_for_each_instance(
    listener: ListenerProcess, north: Hospital, store_film: Callable[..., Any]
) -> None:
    """A compressed image goes as it is where that is accepted; without the SCP role nothing can go."""
    stored = store_film(north, seed=1, transfer_syntax=JPEG_LS)
    asked = identifier(StudyInstanceUID=stored.study.study_instance_uid)
    for syntaxes, expected in ((([JPEG_LS], [IMPLICIT]), JPEG_LS), (([IMPLICIT],), IMPLICIT)):
        received: list[str] = []
        last = get(listener, asked, syntaxes, received)
        assert (last.Status, received) == (0x0000, [expected])
    last = get(listener, asked, ([IMPLICIT],), [], has_role=False)
    assert (last.Status, last.NumberOfFailedSuboperations) == (0xA702, 1)


def get(
    listener: ListenerProcess, asked: Dataset, syntaxes: Any, received: list[str], *, has_role: bool = True
) -> Dataset:
    def store(event: evt.Event) -> int:
        received.append(str(event.context.transfer_syntax))
        assert event.dataset.SOPInstanceUID
        return 0x0000

    entity = AE(PEER)
    entity.add_requested_context(STUDY_ROOT_GET)
    contexts = list(entity.requested_contexts)
    for each in syntaxes:
        entity.requested_contexts = []
        entity.add_requested_context(DigitalXRayImageStorageForPresentation, each)
        contexts += entity.requested_contexts
    roles = [build_role(DigitalXRayImageStorageForPresentation, scp_role=True)] if has_role else []
    association = entity.associate(
        "127.0.0.1", listener.port, ae_title="NORTH", contexts=contexts, ext_neg=roles,
        evt_handlers=[(evt.EVT_C_STORE, store)],
    )  # fmt: skip
    *_, (last, _) = association.send_c_get(asked, STUDY_ROOT_GET)
    association.release()
    return last


@pytest.mark.peer("Orthanc", "C-FIND and C-MOVE from us")
def test_orthanc_finds_and_moves_to_itself(
    listener: ListenerProcess, north: Hospital, study: list[str], tmp_path: Path
) -> None:
    dicom, us = free_port(), ["NORTH", "127.0.0.1", listener.port]
    configuration = {"DicomPort": dicom, "DicomAet": "ORTHANC", "DicomModalities": {"checxray": us}}
    with orthanc(tmp_path, configuration) as url, listed(north, dicom, "ORTHANC"):
        assert requests.post(f"{url}/modalities/checxray/echo", "", timeout=30).ok
        asked = {"Level": "Study", "Query": {"PatientID": "P1", "StudyDate": ""}}
        query = requests.post(f"{url}/modalities/checxray/query", json=asked, timeout=30).json()["ID"]
        assert requests.get(f"{url}/queries/{query}/answers", timeout=30).json() == ["0"]
        moved = requests.post(f"{url}/queries/{query}/retrieve", json={"TargetAet": "ORTHANC"}, timeout=60)
        assert moved.ok, moved.text
        tags = [
            requests.get(f"{url}/instances/{each}/simplified-tags", timeout=30).json()["SOPInstanceUID"]
            for each in requests.get(f"{url}/instances", timeout=30).json()
        ]
    assert sorted(tags) == sorted(study)

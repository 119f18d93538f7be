"""C-ECHO and C-STORE against the real process, with pynetdicom and DCMTK as peers."""

import os
import shutil
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ComprehensiveSRStorage

from apps.audit.models import AuditEvent
from apps.core.version import VERSION
from apps.dimse import contexts
from apps.inference.models import InferenceJob
from apps.studies.models import ImageRejection, Instance
from apps.tenants.scope import tenant_tx
from ml.dicom.storage_classes import SOP_CLASSES
from ml.dicom.transfer_syntaxes import TRANSFER_SYNTAXES
from tests.conftest import PEER, Hospital
from tests.dimse.listening import ListenerProcess, drop, listener_process
from tests.studies import objects

Film = Callable[..., Dataset]
SYNTAXES = {
    "1.2.840.10008.1.2": "-xi",
    "1.2.840.10008.1.2.1": "-xe",
    "1.2.840.10008.1.2.5": "-xr",
    "1.2.840.10008.1.2.4.70": "-xs",
    "1.2.840.10008.1.2.4.80": "-xt",
    "1.2.840.10008.1.2.4.90": "-xv",
}


def count(hospital: Hospital) -> tuple[int, int]:
    """Instances and jobs of a hospital."""
    with tenant_tx(hospital.tenant.id):
        return Instance.objects.count(), InferenceJob.objects.count()


def left_over(spool: Path) -> list[Path]:
    """Files in the spool; a peer's disconnection is noticed within a moment."""
    deadline = time.monotonic() + 60
    while found := [path for path in spool.rglob("*") if path.is_file()]:
        if time.monotonic() > deadline:
            break
        time.sleep(0.05)
    return found


def test_contexts_are_what_the_preflight_accepts() -> None:
    assert {*contexts.STORAGE_CLASSES, *contexts.DOCUMENT_CLASSES} == set(SOP_CLASSES)
    assert set(contexts.TRANSFER_SYNTAXES) == set(TRANSFER_SYNTAXES)


@pytest.mark.peer("pynetdicom", "C-ECHO to us")
def test_echo(listener: ListenerProcess, north: Hospital) -> None:
    assert listener.echo("NORTH") == 0x0000


def test_a_peer_sees_the_version(listener: ListenerProcess, north: Hospital) -> None:
    association = listener.associate("NORTH")
    assert association.acceptor.implementation_version_name == f"CHECXRAY_{VERSION}"
    association.release()


@pytest.mark.parametrize("called", ["NOBODY", "north", "NO.TENANT", "NORTH'--", "ANY-SCP"])
def test_an_unknown_called_ae_title_is_rejected(called: str, listener: ListenerProcess, north: Hospital) -> None:
    assert listener.associate(called).is_rejected


def test_a_closed_tenant_is_rejected(listener: ListenerProcess, north: Hospital) -> None:
    north.tenant.is_active = False
    north.tenant.save()
    assert listener.associate("NORTH").is_rejected


@pytest.mark.peer("pynetdicom", "C-STORE to us")
def test_store(listener: ListenerProcess, north: Hospital, south: Hospital, film: Film) -> None:
    films = [film(seed) for seed in (1, 2, 3)]
    assert listener.store("NORTH", *films) == [0x0000] * 3
    assert count(north) == (3, 3)
    assert count(south) == (0, 0)
    with tenant_tx(north.tenant.id):
        stored = Instance.objects.get(sop_instance_uid=films[0].SOPInstanceUID)
        assert stored.warnings == []
        assert stored.transfer_syntax_uid == films[0].file_meta.TransferSyntaxUID
        assert set(AuditEvent.objects.values_list("actor", flat=True)) == {"dimse:MODALITY"}


def test_the_same_film_again_changes_nothing(
    listener: ListenerProcess, north: Hospital, south: Hospital, film: Film
) -> None:
    assert listener.store("NORTH", film(1)) == [0x0000]
    assert listener.store("NORTH", film(1), film(1)) == [0x0000] * 2
    assert count(north) == (1, 1)
    assert listener.store("SOUTH", film(1)) == [0x0000]
    assert count(south) == (1, 1)


def test_other_content_under_a_known_uid(listener: ListenerProcess, north: Hospital, film: Film) -> None:
    changed = film(1)
    changed.AccessionNumber = "CHANGED"
    assert listener.store("NORTH", film(1), changed) == [0x0000, 0x0111]
    assert count(north) == (1, 1)


def test_statuses_say_why(listener: ListenerProcess, north: Hospital, film: Film) -> None:
    short, huge, nameless, other_patient = film(1), film(2), film(3), film(4, patient_id="SOMEBODY")
    short.PixelData = short.PixelData[:1000]
    huge.Rows = 60000
    del nameless.StudyInstanceUID
    other_patient.StudyInstanceUID = film(5).StudyInstanceUID
    statuses = listener.store("NORTH", short, huge, nameless, film(5), other_patient)
    assert statuses == [0xA900, 0xA900, 0xA900, 0x0000, 0xB000]
    # The image that names another patient is stored and not read.
    assert count(north) == (2, 1)


def test_other_classes_are_not_negotiated(listener: ListenerProcess, north: Hospital, film: Film) -> None:
    computed_tomography = film(1)
    computed_tomography.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    association = listener.associate("NORTH", computed_tomography)
    assert [context.abstract_syntax for context in association.rejected_contexts] == [computed_tomography.SOPClassUID]
    association.release()


def test_a_whole_study_arrives(listener: ListenerProcess, north: Hospital, film: Film) -> None:
    image = film(1)
    report, note = (
        pydicom.dcmread(BytesIO(each))
        for each in (
            objects.document(image.StudyInstanceUID, ComprehensiveSRStorage, patient_id=image.PatientID),
            objects.rejection_note(image.StudyInstanceUID, [image.SOPInstanceUID], 2, patient_id=image.PatientID),
        )
    )
    for each in (report, note):
        each.PatientName, each.PatientBirthDate, each.PatientSex = (
            image.PatientName, image.PatientBirthDate, image.PatientSex
        )  # fmt: skip
    assert listener.store("NORTH", report, image, note) == [0x0000] * 3
    with tenant_tx(north.tenant.id):
        assert (Instance.objects.count(), InferenceJob.objects.count()) == (3, 1)
        assert ImageRejection.objects.get().sop_instance_uid == image.SOPInstanceUID


def test_a_peer_that_vanishes_leaves_nothing(
    listener: ListenerProcess, north: Hospital, film: Film, settings: object
) -> None:
    association = listener.associate("NORTH", film(1))
    raw = association.dul.socket.socket
    # A command set that announces a data set, and the data set's first fragment.
    command = struct.pack("<HHIH", 0, 0x0100, 2, 1) + struct.pack("<HHIH", 0, 0x0110, 2, 1)
    command += struct.pack("<HHIH", 0, 0x0700, 2, 0) + struct.pack("<HHIH", 0, 0x0800, 2, 1)
    sop_class, sop_instance = film(1).SOPClassUID.encode() + b"\0", b"1.2.3\0"
    command = struct.pack("<HHI", 0, 2, len(sop_class)) + sop_class + command
    command += struct.pack("<HHI", 0, 0x1000, len(sop_instance)) + sop_instance
    context = association.accepted_contexts[-1].context_id
    for control, data in ((0x03, command), (0x00, bytes(5000))):
        value = struct.pack(">IBB", len(data) + 2, context, control) + data
        raw.sendall(struct.pack(">BBI", 4, 0, len(value)) + value)
    deadline = time.monotonic() + 60
    while not any(path.is_file() for path in settings.SPOOL_DIR.rglob("*.dcm")):
        assert time.monotonic() < deadline
    drop(association)
    assert left_over(settings.SPOOL_DIR) == []
    assert listener.store("NORTH", film(2)) == [0x0000]
    assert count(north) == (1, 1)


def test_peers_that_stop_half_way_do_not_keep_others_out(listener: ListenerProcess, north: Hospital) -> None:
    half_open = [socket.create_connection(("127.0.0.1", listener.port)) for _ in range(20)]
    for each in half_open:
        each.sendall(b"\x01")
    started = time.monotonic()
    assert listener.echo("NORTH") == 0x0000
    assert time.monotonic() - started < 2
    for each in half_open:
        each.close()


def test_bytes_that_are_no_dicom(listener: ListenerProcess, north: Hospital) -> None:
    for nonsense in (b"GET / HTTP/1.1\r\n\r\n", b"\x01\x00\x00\x00\x00\x04abcd", b"\x04\x00\x00\x00\x00\x00"):
        with socket.create_connection(("127.0.0.1", listener.port), timeout=60) as peer:
            peer.sendall(nonsense)
            peer.shutdown(socket.SHUT_WR)
            while peer.recv(1000):
                pass
    assert listener.echo("NORTH") == 0x0000


def test_limits_and_a_clean_end(north: Hospital, film: Film, settings: object) -> None:
    with listener_process(MAX_INSTANCE_MIB="1") as listener:
        large = film(1)
        large.PixelData = bytes(3 * 2**20)
        association = listener.associate("NORTH", large)
        assert association.send_c_store(large) == Dataset()
        drop(association)
        assert listener.store("NORTH", film(2)) == [0x0000]
        waiting = listener.associate("NORTH")
        with socket.create_connection(("127.0.0.1", listener.port)) as half_open:
            half_open.sendall(b"\x01")
            started = time.monotonic()
            listener.process.terminate()
            assert listener.process.wait(timeout=20) == 0
        assert time.monotonic() - started < 8
        drop(waiting)
    assert left_over(settings.SPOOL_DIR) == []
    assert list(settings.SPOOL_DIR.glob("*/*")) == []


def test_a_full_disk_is_said_before_the_film_comes(north: Hospital, film: Film) -> None:
    with listener_process(SPOOL_FREE_FLOOR_MIB=str(2**40)) as listener:
        assert listener.associate("NORTH", film(1)).is_rejected


def dcmtk(name: str) -> str | None:
    """DCMTK's program: an activated environment has pynetdicom's of the same name first."""
    environments = {Path(sys.executable).parent, Path(os.environ.get("VIRTUAL_ENV", "/")) / "bin"}
    path = [each for each in os.environ["PATH"].split(os.pathsep) if Path(each) not in environments]
    return shutil.which(name, path=os.pathsep.join(path))


@pytest.mark.peer("DCMTK", "C-STORE to us")
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_storescu(syntax: str, listener: ListenerProcess, north: Hospital, film: Film, tmp_path: Path) -> None:
    program = dcmtk("storescu") or pytest.skip("DCMTK's storescu is absent: apt-get install dcmtk")
    path = tmp_path / "film.dcm"
    film(1, transfer_syntax=syntax).save_as(path)
    command = [program, "-aec", "NORTH", "-aet", PEER, SYNTAXES[syntax], "127.0.0.1", str(listener.port), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    assert count(north) == (1, 1)
    with tenant_tx(north.tenant.id):
        assert Instance.objects.get().transfer_syntax_uid == syntax


@pytest.mark.peer("DCMTK", "C-ECHO to us")
def test_echoscu(listener: ListenerProcess, north: Hospital) -> None:
    program = dcmtk("echoscu") or pytest.skip("DCMTK's echoscu is absent: apt-get install dcmtk")
    address = ["127.0.0.1", str(listener.port)]
    assert subprocess.run([program, "-aet", PEER, "-aec", "NORTH", *address], timeout=30, check=False).returncode == 0
    refused = subprocess.run(
        [program, "-aet", PEER, "-aec", "NOBODY", *address], timeout=30, capture_output=True, check=False
    )
    assert refused.returncode != 0
    assert b"No Reason" in refused.stderr

"""Hostile data sets by C-STORE: each gets a status; the association and others go on."""

import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import psutil
from pydicom.dataset import Dataset
from pydicom.uid import UID, DigitalXRayImageStorageForPresentation
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE

from tests.conftest import Hospital
from tests.dimse.listening import ListenerProcess
from tests.ml import samples

KNOWN_STATUSES = {0x0000, 0x0110, 0x0111, 0x0122, 0xA700, 0xA900, 0xC000, 0xC122}
GROWTH = 50 * 2**20
META_BYTES = 132


def data_set_of(hostile: bytes) -> bytes:
    """What follows the File Meta Information, or all of it where that is not clear."""
    length = int.from_bytes(hostile[META_BYTES + 8 : META_BYTES + 12], "little")
    return (hostile[META_BYTES + 12 + length :] if length < 1000 else b"") or hostile


def send(association: Association, data_set: bytes, sop_instance_uid: str) -> int:
    """C-STORE of bytes as they are; pynetdicom's own sender would read them first."""
    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID = DigitalXRayImageStorageForPresentation
    request.AffectedSOPInstanceUID = UID(sop_instance_uid)
    request.DataSet = BytesIO(data_set)
    context = next(
        each for each in association.accepted_contexts if each.abstract_syntax == request.AffectedSOPClassUID
    )
    association._reactor_checkpoint.clear()
    while not association._is_paused:
        time.sleep(0.001)
    association.dimse.send_msg(request, context.context_id)
    _, answer = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    return answer.Status


def test_hostile_data_sets(
    listener: ListenerProcess,
    north: Hospital,
    film: Callable[..., Dataset],
    test_data: Path,
    settings: object,
) -> None:
    corpus = [path.read_bytes() for path in sorted((test_data / "dicom" / "hostile").iterdir())[::4]]
    corpus += [samples.items_bomb(), samples.depth_bomb(), samples.elements_bomb()]
    association = listener.associate("NORTH", film(1))
    assert association.send_c_store(film(1)).Status == 0x0000
    process = psutil.Process(listener.process.pid)
    resident = process.memory_info().rss
    for number, hostile in enumerate(corpus):
        assert send(association, data_set_of(hostile), f"1.2.3.{number}") in KNOWN_STATUSES
        if number % 25 == 0:
            assert association.send_c_store(film(1, patient_id=f"GOOD-{number}")).Status == 0x0000
    association.release()
    assert process.memory_info().rss - resident < GROWTH
    assert listener.echo("NORTH") == 0x0000
    assert [path for path in settings.SPOOL_DIR.rglob("*") if path.is_file()] == []

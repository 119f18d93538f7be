"""C-CANCEL of C-FIND, C-MOVE and C-GET by pynetdicom: each ends with FE00, and the association goes on."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import DigitalXRayImageStorageForPresentation  # type: ignore[attr-defined]

from apps.dimse.contexts import STUDY_ROOT_FIND, STUDY_ROOT_GET, STUDY_ROOT_MOVE
from tests.conftest import PEER, Hospital
from tests.dicomweb.web import free_port
from tests.dimse.listening import ListenerProcess
from tests.dimse.peers import TITLE
from tests.dimse.test_retrieve import identifier, listed
from tests.studies import objects

STUDY = "1.2.826.0.1.18.1"
IMAGES = 4
CANCELLED, PENDING = 0xFE00, 0xFF00


@pytest.fixture
def study(north: Hospital, send: Callable[..., Any]) -> None:
    for number in range(1, IMAGES + 1):
        send(north, objects.image(STUDY, number))


def associated(listener: ListenerProcess, model: str, **options: Any) -> Any:
    entity = AE(PEER)
    entity.add_requested_context(model)
    entity.add_requested_context(DigitalXRayImageStorageForPresentation)
    association = entity.associate("127.0.0.1", listener.port, ae_title="NORTH", **options)
    assert association.is_established
    return association


def counts(status: Any) -> tuple[int, int, int]:
    return status.Status, status.NumberOfCompletedSuboperations, status.NumberOfRemainingSuboperations


@pytest.mark.peer("pynetdicom", "C-CANCEL to us")
@pytest.mark.usefixtures("study")
def test_a_search_is_cancelled(listener: ListenerProcess) -> None:
    association = associated(listener, STUDY_ROOT_FIND)
    asked = identifier("IMAGE", SeriesInstanceUID=f"{STUDY}.1", SOPInstanceUID=None)
    answers = association.send_c_find(asked, STUDY_ROOT_FIND, msg_id=7)
    # At once, before the search begins.
    association.send_c_cancel(7, query_model=STUDY_ROOT_FIND)
    assert [status.Status for status, _ in answers] == [CANCELLED]
    again = [status.Status for status, _ in association.send_c_find(asked, STUDY_ROOT_FIND, msg_id=7)]
    assert again == [PENDING] * IMAGES + [0x0000], "The former C-CANCEL is not about this request."
    association.release()


@pytest.mark.usefixtures("study")
def test_a_retrieval_in_the_same_association_is_cancelled(listener: ListenerProcess) -> None:
    received: list[str] = []

    def store(event: evt.Event) -> int:
        received.append(str(event.request.AffectedSOPInstanceUID))
        if len(received) == 2:
            event.assoc.send_c_cancel(9, query_model=STUDY_ROOT_GET)
        return 0x0000

    association = associated(
        listener, STUDY_ROOT_GET, ext_neg=[build_role(DigitalXRayImageStorageForPresentation, scp_role=True)],
        evt_handlers=[(evt.EVT_C_STORE, store)],
    )  # fmt: skip
    *_, (last, _) = association.send_c_get(identifier(), STUDY_ROOT_GET, msg_id=9)
    assert counts(last) == (CANCELLED, 2, IMAGES - 2)
    assert len(received) == 2
    *_, (last, _) = association.send_c_get(identifier(), STUDY_ROOT_GET, msg_id=10)
    assert (last.Status, last.NumberOfCompletedSuboperations) == (0x0000, IMAGES)
    association.release()


@pytest.mark.usefixtures("study")
def test_a_retrieval_to_a_destination_is_cancelled(listener: ListenerProcess, north: Hospital) -> None:
    stored: list[str] = []
    goes_on = threading.Event()

    def store(event: evt.Event) -> int:
        stored.append(str(event.request.AffectedSOPInstanceUID))
        assert len(stored) == 1 or goes_on.wait(60)
        return 0x0000

    port = free_port()
    entity = AE(TITLE)
    entity.add_supported_context(DigitalXRayImageStorageForPresentation)
    server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    try:
        with listed(north, port):
            association = associated(listener, STUDY_ROOT_MOVE)
            answers = association.send_c_move(identifier(), TITLE, STUDY_ROOT_MOVE, msg_id=3)
            assert counts(next(answers)[0]) == (PENDING, 1, IMAGES - 1)
            association.send_c_cancel(3, query_model=STUDY_ROOT_MOVE)
            # Time for the C-CANCEL to arrive.
            threading.Timer(0.5, goes_on.set).start()
            *_, (last, _) = answers
            association.release()
    finally:
        server.shutdown()
    assert counts(last) == (CANCELLED, 2, IMAGES - 2)
    assert len(stored) == 2

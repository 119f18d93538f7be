"""C-ECHO and C-STORE as SCU, with DCMTK's storescp and pynetdicom as receivers."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.uid import EncapsulatedPDFStorage
from pynetdicom import AE, evt
from pynetdicom.sop_class import DigitalXRayImageStorageForPresentation  # type: ignore[attr-defined]

from apps.results.clients.association import PeerError, RemoteNode
from apps.results.clients.store_scu import OutgoingInstance, StoreOutcome, echo, send_instances
from apps.routing.models import PeerProblem
from apps.studies.models import Instance
from apps.tenants.scope import tenant_tx
from tests.conftest import Hospital
from tests.dicomweb.web import free_port
from tests.dimse.peers import TITLE, storescp
from tests.studies import objects

EXPLICIT, IMPLICIT, JPEG_LS = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.4.80"
STUDY = "1.2.826.0.1.18"


def node(port: int, **other: Any) -> RemoteNode:
    return RemoteNode("127.0.0.1", port, TITLE, "NORTH", networks=("127.0.0.0/8",), **other)


def outgoing(hospital: Hospital) -> list[OutgoingInstance]:
    with tenant_tx(hospital.tenant.id):
        return [
            OutgoingInstance(
                each.sop_class_uid, each.sop_instance_uid, each.transfer_syntax_uid, each.object_key, each.size
            )
            for each in Instance.objects.order_by("pk")
        ]


@pytest.fixture
def stored(north: Hospital, send: Callable[..., Any], store_film: Callable[..., Any]) -> list[OutgoingInstance]:
    """A compressed image, a plain one and a document."""
    store_film(north, seed=1, transfer_syntax=JPEG_LS)
    send(north, objects.image(STUDY, 1))
    send(north, objects.document(STUDY, EncapsulatedPDFStorage))
    return outgoing(north)


@pytest.mark.peer("DCMTK", "C-STORE from us")
@pytest.mark.parametrize(("option", "syntaxes"), [
    ("+xa", [JPEG_LS, EXPLICIT, EXPLICIT]), ("+x=", [EXPLICIT] * 3), ("+xi", [IMPLICIT] * 3),
])  # fmt: skip
def test_each_instance_goes_as_the_receiver_takes_it(
    stored: list[OutgoingInstance], tmp_path: Path, option: str, syntaxes: list[str]
) -> None:
    with storescp(tmp_path / "in", option) as receiver:
        echo(node(receiver.port))
        outcomes = list(send_instances(node(receiver.port), stored))
        received = {each.SOPInstanceUID: each for each in receiver.received()}
    assert [each.status for each in outcomes] == [0, 0, 0]
    assert [received[each.sop_instance_uid].file_meta.TransferSyntaxUID for each in stored] == syntaxes
    image = received[stored[0].sop_instance_uid]
    assert image.pixel_array.shape == (image.Rows, image.Columns)
    assert np.ptp(image.pixel_array) > 0


def receiver(port: int, statuses: Iterator[int], **options: Any) -> Any:
    entity = AE(TITLE)
    entity.add_supported_context(DigitalXRayImageStorageForPresentation, [IMPLICIT, EXPLICIT])
    for name, value in options.items():
        setattr(entity, name, value)
    handlers = [(evt.EVT_C_STORE, lambda event: next(statuses))]
    return entity.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers)


def test_failures_and_warnings_are_reported_one_by_one(north: Hospital, stored: list[OutgoingInstance]) -> None:
    port = free_port()
    several = [stored[1]] * 3
    server = receiver(port, iter([0xA700, 0xB000, 0x0000]))
    try:
        outcomes = list(send_instances(node(port), [*several, stored[2]]))
    finally:
        server.shutdown()
    assert [each.status for each in outcomes] == [0xA700, 0xB000, 0x0000, 0x0122]
    assert [each.is_stored for each in outcomes] == [False, True, True, False]
    assert isinstance(outcomes[-1], StoreOutcome)
    assert outcomes[-1].comment


def test_a_problem_says_what_to_do(north: Hospital) -> None:
    port = free_port()
    with pytest.raises(PeerError) as caught:
        echo(node(port))
    assert caught.value.problem is PeerProblem.NO_ANSWER
    with pytest.raises(PeerError) as caught:
        echo(RemoteNode("127.0.0.1", port, TITLE, "NORTH", networks=()))
    assert caught.value.problem is PeerProblem.ADDRESS_NOT_ALLOWED
    for options, problem in (
        ({"require_calling_aet": ["OTHER"]}, PeerProblem.CALLING_UNKNOWN),
        ({"require_called_aet": True, "ae_title": "OTHER"}, PeerProblem.CALLED_UNKNOWN),
        ({}, PeerProblem.NO_CONTEXT),
    ):
        server = receiver(port, iter([]), **options)
        try:
            with pytest.raises(PeerError) as caught:
                echo(node(port))
        finally:
            server.shutdown()
        assert caught.value.problem is problem


def test_a_receiver_that_states_an_endless_pdu_costs_no_memory_and_no_time(north: Hospital) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            peer, _ = listening.accept()
            with peer:
                peer.recv(10_000)
                peer.sendall(struct.pack(">BBI", 2, 0, 0xFFFFFFF0) + bytes(100_000))
                peer.recv(10_000)

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(PeerError) as caught:
            echo(node(listening.getsockname()[1]))
        thread.join(60)
    assert caught.value.problem is PeerProblem.ABORTED
    assert not [each for each in threading.enumerate() if "Requestor" in each.name]

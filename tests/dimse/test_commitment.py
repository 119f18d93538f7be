"""Storage commitment against the real process: the request, and the report on an association of its own."""

import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from pydicom.dataset import Dataset
from pynetdicom import AE, evt

from apps.core.work_queue import JobState
from apps.dimse.commitment import WELL_KNOWN_INSTANCE
from apps.dimse.contexts import STORAGE_COMMITMENT
from apps.dimse.models import Commitment
from apps.studies import storage
from apps.studies.models import Instance
from apps.tenants.scope import tenant_tx
from tests.conftest import PEER, Hospital
from tests.dicomweb.web import free_port
from tests.dimse.listening import ListenerProcess
from tests.dimse.peers import TITLE
from tests.dimse.test_retrieve import listed
from tests.studies import objects
from workers.reporting_commitments import report_waiting

A, TRANSACTION = "1.2.826.0.1.18.1", "1.2.826.0.1.18.99"
IMPLICIT = "1.2.840.10008.1.2"
DX, CR = "1.2.840.10008.5.1.4.1.1.1.1", "1.2.840.10008.5.1.4.1.1.1"


@pytest.fixture
def stored(north: Hospital, south: Hospital, send: Callable[..., Any]) -> None:
    for number in (1, 2, 3):
        send(north, objects.image(A, number))
    send(south, objects.image(A, 9))


def ask(listener: ListenerProcess, *references: tuple[str, str], calling: str = TITLE, action: int = 1) -> int:
    """The status of N-ACTION."""
    entity = AE(calling)
    entity.add_requested_context(STORAGE_COMMITMENT, IMPLICIT)
    association = entity.associate("127.0.0.1", listener.port, ae_title="NORTH")
    request = Dataset()
    request.TransactionUID = TRANSACTION
    request.ReferencedSOPSequence = []
    for sop_class, sop_instance in references:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop_instance
        request.ReferencedSOPSequence.append(item)
    status, _ = association.send_n_action(request, action, STORAGE_COMMITMENT, WELL_KNOWN_INSTANCE)
    association.release()
    return int(status.Status)


def reports(port: int) -> tuple[Any, list[Any]]:
    """A receiver of reports that takes Implicit VR Little Endian only, and the reports: type, then data set."""
    received: list[Any] = []

    def receive(event: evt.Event) -> tuple[int, None]:
        information = event.event_information
        received.append((event.event_type, information, event.assoc.requestor.ae_title))
        return 0x0000, None

    entity = AE(TITLE)
    entity.add_supported_context(STORAGE_COMMITMENT, IMPLICIT, scu_role=True, scp_role=True)
    return entity.start_server(
        ("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, receive)]
    ), received


def report() -> None:
    report_waiting(worker="test", stopping=threading.Event())


def asked(hospital: Hospital) -> Commitment:
    with tenant_tx(hospital.tenant.id):
        return Commitment.objects.get()


@pytest.mark.peer("pynetdicom", "Storage Commitment by us")
@pytest.mark.usefixtures("stored")
def test_the_result_comes_on_an_association_of_its_own(
    listener: ListenerProcess, north: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    def require_objects(objects: Iterable[tuple[str, int]]) -> None:
        assert not connection.in_atomic_block, "The storage may take minutes for many objects."
        storage.require_objects(objects)

    monkeypatch.setattr("apps.dimse.commitment.require_objects", require_objects)
    with tenant_tx(north.tenant.id):
        lost = Instance.objects.get(sop_instance_uid=f"{A}.1.3")
    Path(settings.STORAGES["default"]["OPTIONS"]["location"], lost.object_key).unlink()
    port = free_port()
    server, received = reports(port)
    try:
        with listed(north, port):
            references = [(DX, f"{A}.1.1"), (CR, f"{A}.1.2"), (DX, f"{A}.1.3"), (DX, f"{A}.1.9")]
            assert ask(listener, *references) == 0x0000
            report()
            ((event, information, calling),) = received
            assert (event, information.TransactionUID, calling) == (2, TRANSACTION, "NORTH")
            assert [each.ReferencedSOPInstanceUID for each in information.ReferencedSOPSequence] == [f"{A}.1.1"]
            # Another class, a lost object, and an image that only another hospital has.
            reasons = {each.ReferencedSOPInstanceUID: each.FailureReason for each in information.FailedSOPSequence}
            assert reasons == {f"{A}.1.2": 0x0119, f"{A}.1.3": 0x0110, f"{A}.1.9": 0x0112}

            # The same request again is decided and reported anew.
            assert ask(listener, (DX, f"{A}.1.1"), (DX, f"{A}.1.2")) == 0x0000
            report()
            assert (received[1][0], len(received[1][1].ReferencedSOPSequence)) == (1, 2)
            assert "FailedSOPSequence" not in received[1][1]
    finally:
        server.shutdown()
    assert asked(north).state == JobState.COMPLETE
    with tenant_tx(north.tenant.id):
        Instance.objects.all().delete()
    assert asked(north).failures == []


@pytest.mark.usefixtures("stored")
def test_a_report_is_tried_again_and_a_bad_request_is_refused(listener: ListenerProcess, north: Hospital) -> None:
    # The result could not be reported to a peer without a host.
    assert ask(listener, (DX, f"{A}.1.1"), calling=PEER) == 0x0110
    with listed(north, free_port()):
        assert ask(listener, (DX, f"{A}.1.1"), action=2) == 0x0123
        assert ask(listener) == 0x0115
        assert ask(listener, (DX, f"{A}.1.1")) == 0x0000
        report()
        job = asked(north)
    assert (job.state, job.attempts, job.failures) == (JobState.QUEUED, 1, [])
    assert job.run_after is not None
    assert "Nothing answers there" in job.reason

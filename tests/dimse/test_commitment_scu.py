"""Storage commitment asked by us: of Orthanc, which reports on an association of its own, and of pynetdicom."""

import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from django.test import Client
from django.utils import timezone
from pydicom.dataset import Dataset
from pynetdicom import AE, build_role, evt
from pynetdicom.dimse_primitives import N_EVENT_REPORT
from pynetdicom.sop_class import SecondaryCaptureImageStorage  # type: ignore[attr-defined]

from apps.core.work_queue import JobState
from apps.events.models import CommitmentRequest, Delivery
from apps.results import destinations as services
from apps.results.clients import commitment_scu
from apps.results.clients.association import RemoteNode
from apps.results.clients.commitment_scu import STORAGE_COMMITMENT, WELL_KNOWN_INSTANCE
from apps.results.destinations import DestinationSettings
from apps.routing.models import Destination, Peer
from apps.studies.models import Study
from apps.tenants.scope import tenant_tx
from tests.conftest import PEER, Hospital
from tests.delivery.acting import act, add, allow_loopback, deliveries, make_due, send
from tests.dicomweb.web import free_port
from tests.dimse.listening import ListenerProcess
from tests.dimse.peers import TITLE
from tests.orthanc import orthanc
from tests.result_objects.conftest import objects, want
from workers.reporting_commitments import ask_waiting

IMPLICIT = "1.2.840.10008.1.2"


@pytest.fixture(autouse=True)
def no_long_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commitment_scu, "SAME_ASSOCIATION_SECONDS", 0.5)


def ask(hospital: Hospital) -> None:
    """Do what the jobs worker does when requests are due."""
    with tenant_tx(hospital.tenant.pk):
        CommitmentRequest.objects.filter(state=JobState.QUEUED).update(run_after=timezone.now() - timedelta(seconds=1))
    ask_waiting(worker="test", stopping=threading.Event())


def requested(hospital: Hospital) -> list[CommitmentRequest]:
    with tenant_tx(hospital.tenant.pk):
        return list(CommitmentRequest.objects.order_by("id"))


def states(hospital: Hospital, *awaited: str) -> list[str]:
    """The states of all requests, as soon as they are as awaited, or after some seconds."""
    deadline = time.monotonic() + 60
    while True:
        found = [each.state for each in requested(hospital)]
        if found == list(awaited) or time.monotonic() > deadline:
            return found
        time.sleep(0.1)


def archive(hospital: Hospital, port: int, title: str = TITLE, contents: Any = ("structured-report",)) -> Destination:
    """A destination that is asked for storage commitment."""
    allow_loopback(hospital)
    with tenant_tx(hospital.tenant.pk):
        peer = Peer(ae_title=title, network="127.0.0.1/32", host="127.0.0.1", port=port)
        peer.save()
    return add(hospital, "dimse", contents=list(contents), peer_id=peer.pk, asks_commitment=True)[0]


@pytest.mark.peer("Orthanc", "C-STORE and Storage Commitment for us")
def test_orthanc_stores_results_and_commits_itself_to_them(
    listener: ListenerProcess, north: Hospital, read_study: Callable[..., Study], sign_in: Any, tmp_path: Path
) -> None:
    dicom = free_port()
    us = {"AET": "NORTH", "Host": "127.0.0.1", "Port": listener.port, "AllowStorageCommitment": True}
    configuration = {"DicomPort": dicom, "DicomAet": "ORTHANC", "DicomModalities": {"checxray": us}}
    want(north, secondary_capture=True, structured_report=True)
    with orthanc(tmp_path, configuration) as url:
        pacs = archive(north, dicom, "ORTHANC", ("structured-report", "secondary-capture"))
        made = objects(north, read_study(north, Effusion=0.9))
        send()
        stored = {}
        for each in requests.get(f"{url}/instances", timeout=30).json():
            stored[requests.get(f"{url}/instances/{each}/simplified-tags", timeout=30).json()["SOPInstanceUID"]] = each
        assert set(stored) == {each.row.sop_instance_uid for each in made.values()}
        page = sign_in(north, north.admin)
        assert "to be asked" in page.get(f"/settings/destinations/{pacs.pk}/").content.decode()
        # It loses one of them before it is asked.
        lost = made["secondary-capture"].row.sop_instance_uid
        assert requests.delete(f"{url}/instances/{stored[lost]}", timeout=30).ok
        ask(north)
        assert states(north, "rejected", "complete") == ["rejected", "complete"]
        first, second = requested(north)
        assert first.transaction_uid == second.transaction_uid, "They are asked about together."
        again = deliveries(north)[0]
        assert (again.state, again.attempts) == (JobState.QUEUED, 1)
        assert again.reason == "The peer does not commit itself to keep it: it has no such instance (0x0112)."
        shown = page.get(f"/settings/destinations/{pacs.pk}/").content.decode()
        assert "committed" in shown
        assert "it has no such instance (0x0112)" in shown
        make_due(north)
        send()
        ask(north)
        assert states(north, "complete", "complete") == ["complete", "complete"]
    assert {each.state for each in deliveries(north)} == {JobState.COMPLETE}


class Archive:
    """An archive that stores everything, and reports as the test wants it."""

    def __init__(self) -> None:
        self.port = free_port()
        self.asked: list[Dataset] = []
        self.answers: list[int | None] = []
        self.answer = 0x0000
        self.reports_at_once = False
        entity = AE(TITLE)
        entity.add_supported_context(SecondaryCaptureImageStorage)
        entity.add_supported_context(STORAGE_COMMITMENT, IMPLICIT)
        handlers = [(evt.EVT_C_STORE, lambda _: 0x0000), (evt.EVT_N_ACTION, self._take)]
        self.server = entity.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)

    def _take(self, event: evt.Event) -> tuple[int, None]:
        self.asked.append(event.action_information)
        if self.reports_at_once:
            threading.Timer(0.1, self._report_on, (event.assoc, event.action_information.TransactionUID)).start()
        return self.answer, None

    def _report_on(self, association: Any, transaction_uid: str) -> None:
        report = self.report(transaction_uid, 0x0213)
        status, _ = association.send_n_event_report(report, 2, STORAGE_COMMITMENT, WELL_KNOWN_INSTANCE)
        self.answers.append(status.get("Status"))

    def report(self, transaction_uid: str, failure: int | None = None) -> Dataset:
        """On all instances that were asked about last."""
        report = Dataset()
        report.TransactionUID = transaction_uid
        references = self.asked[-1].ReferencedSOPSequence
        if failure is None:
            report.ReferencedSOPSequence = references
        else:
            for each in references:
                each.FailureReason = failure
            report.FailedSOPSequence = references
        return report

    def send_report(self, port: int, report: Dataset, *, calling: str = TITLE, called: str = "NORTH") -> int:
        """Report on an association of its own."""
        entity = AE(calling)
        entity.add_requested_context(STORAGE_COMMITMENT, IMPLICIT)
        roles = [build_role(STORAGE_COMMITMENT, scp_role=True)]
        association = entity.associate("127.0.0.1", port, ae_title=called, ext_neg=roles)
        assert association.is_established
        kind = 2 if "FailedSOPSequence" in report else 1
        status, _ = association.send_n_event_report(report, kind, STORAGE_COMMITMENT, WELL_KNOWN_INSTANCE)
        association.release()
        return int(status.Status)


@pytest.fixture
def there() -> Iterator[Archive]:
    started = Archive()
    yield started
    started.server.shutdown()


@pytest.mark.peer("pynetdicom", "C-STORE and Storage Commitment for us")
def test_only_the_peer_that_was_asked_reports(
    listener: ListenerProcess, north: Hospital, south: Hospital, there: Archive
) -> None:
    pacs = archive(north, there.port)
    archive(south, there.port)
    act(north, services.send_test, destination_id=pacs.pk)
    send()
    ask(north)
    (asked,) = there.asked
    report = there.report(asked.TransactionUID)
    assert there.send_report(listener.port, report, calling=PEER) == 0x0115, "another peer of the hospital"
    assert there.send_report(listener.port, report, called="SOUTH") == 0x0115, "another hospital"
    assert there.send_report(listener.port, there.report("2.25.1")) == 0x0115, "another transaction"
    assert states(north, "queued") == ["queued"]
    assert there.send_report(listener.port, there.report(asked.TransactionUID)) == 0x0000
    assert there.send_report(listener.port, there.report(asked.TransactionUID, 0x0112)) == 0x0000
    assert states(north, "complete") == ["complete"], "The first report ends it."
    assert requested(south) == []


def test_a_report_is_answered_before_the_association_is_released(there: Archive) -> None:
    there.reports_at_once = True

    def record_slowly(*_: Any) -> Dataset:
        time.sleep(3 * commitment_scu.SAME_ASSOCIATION_SECONDS)
        answer = Dataset()
        answer.Status = 0x0000
        return answer

    node = RemoteNode("127.0.0.1", there.port, TITLE, "NORTH", networks=("127.0.0.0/8",))
    assert commitment_scu.ask(node, "2.25.1", [("1.2", "1.2.3")], record_slowly) == 0x0000
    deadline = time.monotonic() + 30
    while not there.answers and time.monotonic() < deadline:
        time.sleep(0.05)
    assert there.answers == [0x0000]


def test_failures_are_sent_again_until_the_schedule_ends(
    north: Hospital, there: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The archive reports on the same association, each time that it lacks resources."""
    monkeypatch.setattr(commitment_scu, "SAME_ASSOCIATION_SECONDS", 30)
    there.reports_at_once = True
    pacs = archive(north, there.port)
    act(north, services.send_test, destination_id=pacs.pk)
    send()
    ask(north)
    with tenant_tx(north.tenant.pk):
        delivery = Delivery.objects.get()
        assert (delivery.state, delivery.attempts) == (JobState.QUEUED, 1)
        assert timedelta(seconds=20) < delivery.run_after - timezone.now() < timedelta(seconds=34)
        Delivery.objects.update(attempts=9)
    make_due(north)
    send()
    ask(north)
    assert there.asked[0].TransactionUID != there.asked[1].TransactionUID
    last = deliveries(north)[0]
    assert (last.state, last.attempts) == (JobState.FAILED, 10)
    assert last.reason.endswith("it lacks resources (0x0213).")


def test_a_peer_that_does_not_report_is_asked_again_and_then_shown_as_unanswered(
    listener: ListenerProcess, north: Hospital, there: Archive, sign_in: Callable[..., Client]
) -> None:
    pacs = archive(north, there.port)
    act(north, services.send_test, destination_id=pacs.pk)
    send()
    there.answer = 0x0213
    ask(north)
    assert requested(north)[0].reason == "The peer did not take the request: status 0x0213."
    there.answer = 0x0000
    for _ in range(3):
        ask(north)
    assert len(there.asked) == 3
    assert states(north, "failed") == ["failed"]
    page = sign_in(north, north.admin).get(f"/settings/destinations/{pacs.pk}/").content.decode()
    assert "unanswered" in page
    assert "No report came within 12 hours" in page
    assert there.send_report(listener.port, there.report(there.asked[-2].TransactionUID)) == 0x0000
    assert states(north, "complete") == ["complete"], "A late report counts too, also to the request before."

    act(north, services.send_test, destination_id=pacs.pk)
    send()
    with tenant_tx(north.tenant.pk):
        chosen = DestinationSettings("plain", ["structured-report"], peer_id=pacs.peer_id)
    act(north, services.change_destination, destination_id=pacs.pk, chosen=chosen)
    assert states(north, "complete") == ["complete"], "What is not asked any more is forgotten; a commitment stays."


def test_a_peer_that_floods_the_listener_with_reports_is_cut_off(
    listener: ListenerProcess, north: Hospital, there: Archive
) -> None:
    archive(north, there.port)
    entity = AE(TITLE)
    entity.add_requested_context(STORAGE_COMMITMENT, IMPLICIT)
    association: Any = entity.associate("127.0.0.1", listener.port, ae_title="NORTH")
    request = N_EVENT_REPORT()
    request.MessageID, request.EventTypeID = 1, 1
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = STORAGE_COMMITMENT, WELL_KNOWN_INSTANCE
    for _ in range(500):
        association.dimse.send_msg(request, association.accepted_contexts[0].context_id)
    deadline = time.monotonic() + 60
    while not association.is_aborted and time.monotonic() < deadline:
        time.sleep(0.05)
    assert association.is_aborted
    assert listener.echo("NORTH") == 0x0000

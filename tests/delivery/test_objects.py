"""Result objects and tests on their way to a hospital's destinations: real receivers, and all that goes wrong."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import requests
from django.utils import timezone

from apps.core import outbound
from apps.core.errors import ConflictError
from apps.core.identifiers import uuid7
from apps.core.work_queue import JobState
from apps.events.deliveries import SENDING, count_unfinished
from apps.events.models import Delivery
from apps.results import destinations as services
from apps.results.delivery import queue_objects
from apps.results.models import ResultObject
from apps.routing.models import Peer
from apps.routing.rule_models import RuleMatch
from apps.routing.services import remove_peer
from apps.studies.models import Instance, Study
from apps.tenants.scope import tenant_tx
from tests.conftest import Hospital
from tests.core.receiving import Receiver, receiver
from tests.delivery.acting import BY, act, add, allow_loopback, deliveries, make_due, row_of, send
from tests.dimse.peers import TITLE, storescp
from tests.orthanc import orthanc
from tests.result_objects.conftest import member, objects, want


@pytest.mark.peer
def test_orthanc_stores_results_and_the_test_image(
    north: Hospital, read_study: Callable[..., Study], tmp_path: Any
) -> None:
    allow_loopback(north)
    want(north, secondary_capture=True, structured_report=True)
    with orthanc(tmp_path, {"DicomWeb": {}}) as url:
        pacs, _ = add(north, "stow", f"{url}/dicom-web/studies", ["structured-report", "secondary-capture"])
        made = objects(north, read_study(north, Effusion=0.9))
        act(north, services.send_test, destination_id=pacs.pk)
        send()
        sent = deliveries(north)
        assert [(each.content, each.state, each.answer, each.reason) for each in sent] == [
            ("secondary-capture", JobState.COMPLETE, "200", ""),
            ("structured-report", JobState.COMPLETE, "200", ""),
            ("test", JobState.COMPLETE, "200", ""),
        ]
        act(north, services.repeat_delivery, delivery_id=sent[0].pk)
        send()
        assert deliveries(north)[0].state == JobState.COMPLETE, "It is there already, which is as good."
        ids = requests.get(f"{url}/instances", timeout=60).json()
        stored = {requests.get(f"{url}/instances/{each}/file", timeout=60).content for each in ids}
        names = {
            requests.get(f"{url}/instances/{each}/tags?simplify", timeout=60).json()["PatientName"] for each in ids
        }
    assert {each.data for each in made.values()} < stored
    assert len(ids) == 3
    assert "TEST^CHECXRAY" in names
    assert row_of(north, pacs).last_success is not None


@pytest.mark.peer
def test_a_dicom_peer_stores_results(north: Hospital, read_study: Callable[..., Study], tmp_path: Any) -> None:
    allow_loopback(north)
    want(north, structured_report=True)
    with storescp(tmp_path / "archive") as archive:
        with tenant_tx(north.tenant.pk):
            peer = Peer(ae_title=TITLE, network="127.0.0.1/32", host="127.0.0.1", port=archive.port)
            peer.save()
        pacs, _ = add(north, "dimse", contents=["structured-report"], peer_id=peer.pk)
        made = objects(north, read_study(north, Effusion=0.9))["structured-report"].dataset
        act(north, services.send_test, destination_id=pacs.pk)
        send()
        assert [(each.state, each.answer) for each in deliveries(north)] == [(JobState.COMPLETE, "0x0000")] * 2
        received = {each.SOPInstanceUID: each for each in archive.received()}
    assert str(received.pop(made.SOPInstanceUID).PatientID) == str(made.PatientID)
    assert [str(each.PatientName) for each in received.values()] == ["TEST^CHECXRAY"]
    act(north, services.send_test, destination_id=pacs.pk)
    send()
    last = deliveries(north)[-1]
    assert (last.state, last.attempts) == (JobState.QUEUED, 1)
    assert "Nothing answers there" in last.reason
    with pytest.raises(ConflictError, match="remove the destination"), tenant_tx(north.tenant.pk):
        remove_peer(peer_id=peer.pk, membership=member(north, north.admin), by=BY)


def test_a_destination_that_fails_blocks_no_other_and_loses_nothing(north: Hospital, there: Receiver) -> None:
    """While one does not answer, its own deliveries wait together; all are sent as soon as it answers."""
    allow_loopback(north)
    with receiver() as broken:
        broken.answers = [500, 500]
        ill, _ = add(north, "stow", broken.url, ["structured-report"], name="A: ill")
        well, _ = add(north, "stow", there.url, ["structured-report"], name="B: well")
        for each in (ill, ill, ill, well, well, well):
            act(north, services.send_test, destination_id=each.pk)
        send()
        assert (len(broken.got), len(there.got)) == (1, 3)
        waiting = [each for each in deliveries(north) if each.destination_id == ill.pk]
        assert [(each.state, each.attempts) for each in waiting] == [
            (JobState.QUEUED, 1), (JobState.QUEUED, 0), (JobState.QUEUED, 0),
        ]  # fmt: skip
        assert waiting[0].reason == "The receiver answered 500 Internal Server Error."
        assert all(timedelta(seconds=20) < each.run_after - timezone.now() < timedelta(seconds=34) for each in waiting)
        assert row_of(north, ill).last_error
        assert row_of(north, well).last_error == ""
        make_due(north)
        send()
        assert len(broken.got) == 2, "Its deliveries do not each wait for its answer."
        make_due(north)
        send()
        assert {each.state for each in deliveries(north)} == {JobState.COMPLETE}
    assert row_of(north, ill).last_error == ""


def test_a_refused_object_delays_no_other(north: Hospital, there: Receiver) -> None:
    """The server takes one object and refuses the other by a failure reason: it is given up after its attempts."""
    allow_loopback(north)
    refused = {"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [0x0124]}}]}}
    duplicate = {"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [0x0111]}}]}}
    pacs, _ = add(north, "stow", there.url, ["structured-report"])
    for _ in range(2):
        act(north, services.send_test, destination_id=pacs.pk)
    there.answers, there.bodies = [409, 409], [json.dumps(each).encode() for each in (refused, duplicate)]
    send()
    first, second = deliveries(north)
    assert (first.state, first.reason) == (JobState.QUEUED, "The receiver did not store it: failure reason 0x0124.")
    assert second.state == JobState.COMPLETE, "It was there already."
    assert row_of(north, pacs).last_error == ""
    for _ in range(9):
        there.answers.append(400)
        make_due(north)
        send()
    first = deliveries(north)[0]
    assert (first.state, first.attempts) == (JobState.FAILED, 10)
    assert count_unfinished() == {"waiting": 0, "given-up": 1}
    assert act(north, services.repeat_failed, destination_id=pacs.pk) == 1
    send()
    first = deliveries(north)[0]
    assert (first.state, first.attempts) == (JobState.COMPLETE, 1)


@pytest.mark.parametrize("sequence", ["00081198", "0008119A"])
def test_a_failure_within_a_success_is_a_failure(north: Hospital, there: Receiver, sequence: str) -> None:
    """A server that cannot read an instance has no UIDs for FailedSOPSequence, and some answer 202 all the same."""
    allow_loopback(north)
    pacs, _ = add(north, "stow", there.url, ["structured-report"])
    act(north, services.send_test, destination_id=pacs.pk)
    failed = {sequence: {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [0xC000]}}]}}
    there.answers, there.bodies = [202], [json.dumps(failed).encode()]
    send()
    (sent,) = deliveries(north)
    assert (sent.state, sent.reason) == (JobState.QUEUED, "The receiver did not store it: failure reason 0xC000.")


def test_a_receiver_that_hangs_is_left_and_the_worker_goes_on(
    north: Hospital, there: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbound, "SECONDS", 0.5)
    allow_loopback(north)
    with receiver() as hanging:
        hanging.slowly = True
        slow, _ = add(north, "webhook", hanging.url, ["study.received"], name="slow")
        quick, _ = add(north, "webhook", there.url, ["study.received"], name="quick")
        for each in (slow, quick):
            act(north, services.send_test, destination_id=each.pk)
        send()
    states = {each.destination.name: (each.state, each.reason) for each in deliveries(north)}
    assert states["quick"] == (JobState.COMPLETE, "")
    assert states["slow"] == (JobState.QUEUED, "There was no answer within 0.5 s.")


def test_a_worker_that_dies_while_it_sends_loses_nothing(north: Hospital, there: Receiver) -> None:
    allow_loopback(north)
    hook, _ = add(north, "webhook", there.url, ["study.received"])
    for _ in range(2):
        act(north, services.send_test, destination_id=hook.pk)
    (claimed,) = SENDING.claim(worker="dead")
    assert SENDING.claim(worker="other") == [], "One delivery at a time goes to a destination."
    with tenant_tx(north.tenant.pk):
        Delivery.objects.filter(pk=claimed.pk).update(lease_until=timezone.now() - timedelta(minutes=1))
    assert SENDING.expire_leases() == 1
    make_due(north)
    send()
    assert [each.state for each in deliveries(north)] == [JobState.COMPLETE] * 2
    assert len({headers["webhook-id"] for headers, _ in there.got}) == 2


def test_410_switches_a_webhook_off_and_a_switched_off_archive_gets_all_later(
    north: Hospital, there: Receiver, read_study: Callable[..., Study]
) -> None:
    allow_loopback(north)
    want(north, structured_report=True)
    there.answers = [410]
    hook, _ = add(north, "webhook", there.url, ["study.received"])
    pacs, _ = add(north, "stow", there.url, ["structured-report"])
    act(north, services.switch_destination, destination_id=pacs.pk, is_enabled=False)
    objects(north, read_study(north, Effusion=0.9))
    send()
    assert row_of(north, hook).disabled_because.startswith("The receiver answered 410 Gone")
    gone, waiting = deliveries(north)
    assert (gone.state, waiting.state) == (JobState.REJECTED, JobState.QUEUED)
    with pytest.raises(ConflictError, match="switched off"):
        act(north, services.repeat_delivery, delivery_id=gone.pk)
    with pytest.raises(ConflictError, match="switched off"):
        act(north, services.send_test, destination_id=pacs.pk)
    act(north, services.switch_destination, destination_id=pacs.pk, is_enabled=True)
    with tenant_tx(north.tenant.pk):
        Study.objects.update(withdrawn=timezone.now())
    send()
    assert deliveries(north)[1].reason == "Its study was withdrawn."
    with tenant_tx(north.tenant.pk):
        Study.objects.update(withdrawn=None)
    act(north, services.repeat_failed, destination_id=pacs.pk)
    send()
    assert deliveries(north)[1].state == JobState.COMPLETE


def test_a_rule_names_where_the_results_of_a_study_go(
    north: Hospital, there: Receiver, read_study: Callable[..., Study]
) -> None:
    allow_loopback(north)
    want(north, structured_report=True)
    named, _ = add(north, "stow", there.url, ["structured-report"], name="named")
    add(north, "stow", there.url, ["structured-report"], name="other")
    study = read_study(north, Effusion=0.9)
    with tenant_tx(north.tenant.pk):
        RuleMatch.objects.create(
            instance=Instance.objects.get(series__study=study), rule_id=uuid7(), rule_name="r", policy=1, action="read",
            destinations=[named.pk],
        )  # fmt: skip
    objects(north, study)
    assert [each.destination.name for each in deliveries(north)] == ["named"]
    act(north, services.remove_destination, destination_id=named.pk)
    with tenant_tx(north.tenant.pk):
        ResultObject.objects.update(sop_instance_uid="2.25.1")
        queue_objects(["2.25.1"])
    assert [each.destination.name for each in deliveries(north)] == ["other"]

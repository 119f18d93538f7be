"""A jobs worker that is killed while it sends: another one sends the same, and nothing is lost or sent for ever."""

import os
import signal
from pathlib import Path
from uuid import UUID

import pytest

from apps.core.work_queue import JobState
from apps.events.models import Delivery
from apps.results import destinations as services
from apps.tenants.scope import tenant_tx
from tests.conftest import Hospital
from tests.core.receiving import receiver
from tests.delivery.acting import act, add, allow_loopback, deliveries, make_due
from tests.flows.processes import running, start, wait_for


@pytest.mark.long
def test_a_killed_worker_and_a_receiver_that_hangs(north: Hospital, south: Hospital, tmp_path: Path) -> None:
    allow_loopback(north, south)
    with receiver() as hanging, receiver() as well:
        hanging.slowly = True
        slow, _ = add(north, "webhook", hanging.url, ["study.received"], name="slow")
        archive, _ = add(north, "stow", well.url, ["structured-report"], name="archive")
        other, _ = add(south, "webhook", well.url, ["study.received"], name="other")
        worker = start("jobs", tmp_path / "log")
        act(north, services.send_test, destination_id=slow.pk)
        wait_for(lambda: hanging.got, 60, "The first message")
        for hospital, destination in ((north, archive), (south, other)):
            act(hospital, services.send_test, destination_id=destination.pk)
        wait_for(lambda: len(well.got) == 2, 60, "The messages to others")
        act(north, services.send_test, destination_id=slow.pk)
        wait_for(lambda: len(hanging.got) == 2, 60, "The second message")
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()
        (killed,) = [each.pk for each in deliveries(north) if each.state == JobState.RUNNING]
        hanging.slowly = False

        def state_of(pk: UUID) -> str:
            return next(each.state for each in deliveries(north) if each.pk == pk)

        with running("jobs", tmp_path / "log2"), running("dispatcher", tmp_path / "dispatcher.log"):
            wait_for(lambda: state_of(killed) == JobState.QUEUED, 30, "The return of the killed one")
            make_due(north)
            wait_for(lambda: {each.state for each in deliveries(north)} == {JobState.COMPLETE}, 60, "All that waits")
        ids = [headers["webhook-id"] for headers, _ in hanging.got]
        assert set(ids) == {str(each.pk) for each in deliveries(north) if each.destination_id == slow.pk}
        assert ids.count(str(killed)) == 2
        for hospital in (north, south):
            with tenant_tx(hospital.tenant.pk):
                assert not Delivery.objects.exclude(state=JobState.COMPLETE).exists()

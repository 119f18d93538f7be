"""The one work queue, for each of its kinds: claims, leases, fences, retries and ends."""

import datetime
import subprocess
import sys
import threading
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.utils import timezone

from apps.core.process_names import name_of_this_process
from apps.core.work_queue import OPEN_STATES, JobState
from apps.registry.models import ModelVersion
from apps.tenants.models import TenantModel
from apps.tenants.scope import tenant_tx
from tests.conftest import PROJECT_ROOT, Hospital
from tests.core.work_kinds import KINDS, Deliveries, Evaluations, Kind, Previews
from tests.results import version
from tests.tenants.catalogue import PLATFORM_TABLES

__all__ = ["version"]
PAST = timezone.now() - datetime.timedelta(hours=1)


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def kind(request: Any, north: Hospital, version: ModelVersion) -> Kind:
    made: Kind = request.param(north, version)
    return made


def finish(kind: Kind, claim: Any) -> bool:
    """Store the result of a claim, as its worker does; return whether it was stored."""
    with tenant_tx(kind.hospital.tenant.pk):
        kind.complete(claim)
    return bool(kind.row(claim.id).state == JobState.COMPLETE)


def claim_again(kind: Kind) -> Any:
    """Claim the only row, as soon as its pause has ended."""
    kind.change(run_after=PAST)
    (claim,) = kind.claim() or kind.claim(suspect=True)
    return claim


def let_worker_die(kind: Kind) -> None:
    kind.change(lease_until=PAST)
    assert kind.queue.expire_leases() == 1


def test_the_highest_priority_goes_first_and_then_the_oldest(kind: Kind) -> None:
    first, urgent, second, low = (kind.make(priority) for priority in (0, 2, 0, -1))
    claimed = [claim.id for _ in range(4) for claim in kind.claim()]
    assert claimed == [urgent, first, second, low]
    assert not kind.queue.due().exists()


def test_a_claim_leases_the_row_and_counts_the_attempt(kind: Kind) -> None:
    pk = kind.make()
    assert kind.row(pk).state == JobState.QUEUED
    (claim,) = kind.claim()
    row = kind.row(pk)
    assert (row.state, row.attempts, row.fence, row.worker) == (JobState.RUNNING, 1, claim.fence, "test")
    assert row.lease_until - timezone.now() <= kind.queue.lease
    assert kind.claim() == []
    assert kind.queue.expire_leases() == 0, "Its worker lives."
    assert finish(kind, claim)
    row = kind.row(pk)
    assert (row.lease_until, row.reason) == (None, "")
    assert row.finished is not None


def test_two_workers_never_claim_the_same_row(kind: Kind) -> None:
    made = {kind.make() for _ in range(3)}
    claimed: list[Any] = []

    def claim() -> None:
        claimed.extend(kind.claim(limit=3))
        connections.close_all()

    with transaction.atomic(using=kind.queue.using):
        (locked,) = kind.queue.lock(kind.queue.due()[:1])
        # Another worker does not wait for the row that this one is claiming.
        other = threading.Thread(target=claim)
        other.start()
        other.join(60)
        assert {each.id for each in claimed} == made - {locked.pk}
    claimed.extend(kind.claim(limit=3))
    assert {each.id for each in claimed} == made
    assert len(claimed) == 3


def test_a_worker_that_lost_its_lease_writes_nothing(kind: Kind) -> None:
    pk = kind.make()
    (late,) = kind.claim()
    let_worker_die(kind)
    current = claim_again(kind)
    assert current.fence > late.fence
    assert kind.queue.renew([late]) == 0
    assert not finish(kind, late)
    kind.fail(late, "write-error")
    kind.queue.release(job=late)
    assert (kind.row(pk).state, kind.row(pk).fence) == (JobState.RUNNING, current.fence)
    assert finish(kind, current)


def test_a_claim_that_the_database_lost_writes_nothing_into_the_next(kind: Kind) -> None:
    """A claim need not wait for the disk: after a crash of the database its row may be as it was before."""
    pk = kind.make()
    before = kind.row(pk)
    (lost,) = kind.claim()
    kind.change(state=before.state, attempts=before.attempts, fence=before.fence, lease_until=None)
    current = claim_again(kind)
    assert not finish(kind, lost)
    kind.fail(lost, "inference-error")
    assert kind.row(pk).state == JobState.RUNNING
    assert finish(kind, current)


def test_a_lease_that_is_renewed_does_not_expire(kind: Kind) -> None:
    pk = kind.make()
    (claim,) = kind.claim()
    kind.change(lease_until=PAST)
    assert kind.queue.renew([claim]) == 1
    assert kind.queue.expire_leases() == 0
    assert kind.row(pk).lease_until > timezone.now()


@pytest.fixture(scope="module")
def name_of_ended_process() -> str:
    code = "from apps.core.process_names import *; print(name_of_this_process())"
    return subprocess.check_output([sys.executable, "-c", code], text=True, cwd=PROJECT_ROOT).strip()


def test_a_worker_that_has_ended_frees_its_rows_before_the_lease_ends(kind: Kind, name_of_ended_process: str) -> None:
    pk = kind.make()
    kind.claim()
    kind.change(worker=name_of_this_process())
    assert kind.queue.free_ended_workers() == 0, "It lives."
    kind.change(worker=name_of_ended_process)
    assert kind.queue.free_ended_workers() == 1
    assert kind.row(pk).state == JobState.QUEUED


def test_a_worker_that_stops_spends_no_attempt(kind: Kind) -> None:
    pk = kind.make()
    for _ in range(5):
        (claim,) = kind.claim()
        kind.queue.release(job=claim)
        row = kind.row(pk)
        assert (row.state, row.attempts, row.worker, row.lease_until) == (JobState.QUEUED, 0, "", None)


def test_an_outage_spends_no_attempt_however_long_it_lasts(kind: Kind) -> None:
    pk = kind.make()
    for _ in range(20):
        kind.fail(claim_again(kind), "storage-unavailable")
    row = kind.row(pk)
    assert (row.state, row.attempts, row.waits, row.reason_code) == (JobState.QUEUED, 0, 20, "storage-unavailable")
    assert row.waiting_since is not None
    assert "the object storage does not answer" in row.reason
    assert timedelta_of(row) <= 60
    assert kind.claim() == []
    assert kind.queue.end_outage("storage-unavailable") == 1
    assert len(kind.claim()) == 1, "After the outage nothing waits for the end of a pause."
    assert (kind.row(pk).reason, kind.row(pk).waits) == ("", 0)


def timedelta_of(row: Any) -> float:
    """The seconds until a queued row may be claimed."""
    seconds: float = (row.run_after - timezone.now()).total_seconds()
    return seconds


def test_failures_pause_longer_each_time_and_end(kind: Kind) -> None:
    pk = kind.make()
    for attempt, pause in enumerate(kind.queue.pauses, start=1):
        kind.fail(claim_again(kind), "inference-error")
        row = kind.row(pk)
        assert (row.state, row.attempts, row.finished) == (JobState.QUEUED, attempt, None)
        assert pause - 5 <= timedelta_of(row) <= 1.1 * pause
        assert kind.claim() == []
    kind.fail(claim_again(kind), "inference-error")
    row = kind.row(pk)
    assert (row.state, row.attempts, row.reason_code) == (JobState.FAILED, attempt + 1, "inference-error")
    assert row.reason.endswith("It failed.")
    assert row.finished is not None
    kind.change(run_after=PAST)
    assert not kind.queue.due().exists()


def test_what_is_ended_from_outside_each_time_fails_in_the_end(kind: Kind) -> None:
    pk = kind.make()
    tries = 0
    while kind.row(pk).state == JobState.QUEUED:
        kind.fail(claim_again(kind), "decoder-ended")
        tries += 1
    attempts = len(kind.queue.pauses) + 1
    assert kind.row(pk).state == JobState.FAILED
    assert 10 < tries <= 11 * attempts


def test_what_kills_every_worker_fails_in_the_end(kind: Kind) -> None:
    pk = kind.make()
    deaths = 0
    while kind.row(pk).state in OPEN_STATES:
        claim_again(kind)
        let_worker_die(kind)
        deaths += 1
    row = kind.row(pk)
    assert (row.state, row.reason_code) == (JobState.FAILED, "worker-lost")
    assert row.reason
    # A row that was claimed with others is not to blame for the first death.
    assert deaths == len(kind.queue.pauses) + 1 + kind.queue.in_batches


def test_what_cannot_be_done_is_rejected_once_and_for_all(kind: Kind) -> None:
    pk = kind.make()
    (claim,) = kind.claim()
    with tenant_tx(kind.hospital.tenant.pk):
        kind.reject(claim)
    row = kind.row(pk)
    assert (row.state, row.reason_code, row.reason) == (JobState.REJECTED, "unfit", "It cannot be done.")
    assert not finish(kind, claim)
    assert not kind.queue.due().exists()


def test_a_tenant_sees_its_own_work_only(kind: Kind, south: Hospital) -> None:
    pk = kind.make()
    model = kind.queue.kind
    if not issubclass(model, TenantModel):
        assert model._meta.db_table in PLATFORM_TABLES
        return
    (claim,) = kind.claim()
    with tenant_tx(south.tenant.pk):
        assert not model._default_manager.exists()
        assert not kind.queue.complete(job=claim)
        assert not model._default_manager.update(priority=9)
    assert (kind.row(pk).state, kind.row(pk).priority) == (JobState.RUNNING, 0)


@pytest.mark.parametrize("kind", [Evaluations, Previews, Deliveries], indirect=True)
def test_a_former_release_finds_its_names_of_states_in_the_database(kind: Kind) -> None:
    kind.make()
    with connection.cursor() as cursor:
        cursor.execute(f"select state from {kind.queue.kind._meta.db_table}")
        assert cursor.fetchall() == [("waiting",)]
    model = kind.queue.kind._default_manager
    assert list(model.values_list("state", flat=True)) == [JobState.QUEUED]
    assert model.filter(state__in=OPEN_STATES).exists()
    assert not model.exclude(state=JobState.QUEUED).exists()

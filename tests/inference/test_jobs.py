"""Inference jobs: claims, fences, leases, retries."""

import datetime
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from django.db import connections
from django.utils import timezone

from apps.core.process_names import has_ended
from apps.core.retry import MAX_ATTEMPTS
from apps.core.work_queue import JobState
from apps.inference import retries, services
from apps.inference.models import InferenceJob, Worker
from apps.registry.engine import LABELS
from apps.studies.models import Instance
from apps.tenants.scope import tenant_tx
from tests.conftest import PROJECT_ROOT, Hospital


@pytest.fixture
def queued(starter: Any, north: Hospital, store_film: Callable[..., Any]) -> InferenceJob:
    store_film(north, size=128)
    with tenant_tx(north.tenant.id):
        return InferenceJob.objects.get()


def claim(starter: Any, limit: int = 8, *, suspect: bool = False) -> list[services.ClaimedJob]:
    return services.claim_jobs(limit=limit, version=starter, worker="test", suspect=suspect)


def end_pauses() -> None:
    InferenceJob.objects.using("dispatch").update(run_after=None)


def as_result(job: services.ClaimedJob, probability: float = 0.5) -> services.JobResult:
    return services.JobResult(
        job=job,
        instance=Instance.objects.get(series__study=job.study_id),
        instances_seen=1,
        probabilities=dict.fromkeys(LABELS, probability),
        cams=np.zeros((len(LABELS), 7, 7), np.float16),
    )


def refreshed(job: InferenceJob) -> InferenceJob:
    with tenant_tx(job.tenant_id):
        return InferenceJob.objects.get(pk=job.pk)


def let_lease_expire() -> None:
    past = timezone.now() - datetime.timedelta(seconds=1)
    InferenceJob.objects.using("dispatch").filter(state=JobState.RUNNING).update(lease_until=past)


def test_a_claim_pins_the_version_counts_the_attempt_and_sets_a_fence(queued: InferenceJob, starter: Any) -> None:
    (held,) = claim(starter)
    row = refreshed(queued)
    assert (row.state, row.attempts, row.fence, row.model_version_id) == (JobState.RUNNING, 1, held.fence, starter.pk)
    assert claim(starter) == []


def test_a_job_whose_worker_dies_is_read_alone_and_only_then_spends_attempts(
    queued: InferenceJob, starter: Any, north: Hospital, store_film: Callable[..., Any]
) -> None:
    store_film(north, seed=2, size=128)
    assert len(claim(starter)) == 2
    let_lease_expire()
    assert retries.expire_leases() == 2
    assert claim(starter) == [], "A suspect is not read beside others."
    with tenant_tx(north.tenant.id):
        assert set(InferenceJob.objects.values_list("state", "attempts", "is_suspect")) == {(JobState.QUEUED, 0, True)}
    for attempt in range(1, 4):
        end_pauses()
        (held,) = claim(starter, limit=1, suspect=True)
        assert held.id == queued.pk
        assert refreshed(queued).attempts == attempt
        let_lease_expire()
        retries.expire_leases()
    row = refreshed(queued)
    assert (row.state, row.reason_code) == (JobState.FAILED, "worker-lost")
    assert row.reason.startswith("AI result unavailable")
    (other,) = claim(starter, suspect=True)
    with tenant_tx(north.tenant.id):
        assert len(services.complete_jobs(results=[as_result(other)], version=starter)) == 1


def test_jobs_of_a_worker_that_has_ended_are_freed_before_their_lease_ends(queued: InferenceJob, starter: Any) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", "from apps.core.process_names import *; print(name_of_this_process()); input()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=PROJECT_ROOT,
    )  # fmt: skip
    with child:
        assert child.stdout is not None
        name = child.stdout.readline().strip()
        services.claim_jobs(limit=1, version=starter, worker=name)
        Worker.objects.create(name=name, last_seen=timezone.now())
        assert retries.free_ended_workers() == 0, "It lives."
        child.kill()
    assert retries.free_ended_workers() == 1
    assert (refreshed(queued).state, refreshed(queued).is_suspect) == (JobState.QUEUED, True)
    assert not Worker.objects.exists(), "A worker that has ended must not count as one that serves."


@pytest.mark.parametrize("name", ["other:1:1:00000000", "host:12", "", "a:b:c:d"])
def test_a_worker_that_this_machine_does_not_know_keeps_its_lease(name: str) -> None:
    assert not has_ended(name)


def test_an_outage_spends_no_attempt_however_long_it_lasts(queued: InferenceJob, starter: Any) -> None:
    for _ in range(70):
        end_pauses()
        (held,) = claim(starter)
        retries.return_after_failure(job=held, code="storage-unavailable")
    row = refreshed(queued)
    assert (row.state, row.attempts, row.waits, row.reason_code) == (JobState.QUEUED, 0, 70, "storage-unavailable")
    assert row.run_after is not None
    assert row.run_after <= timezone.now() + datetime.timedelta(seconds=60)
    assert "Waiting since" in row.reason
    assert "the object storage does not answer" in row.reason
    retries.end_outage("storage-unavailable")
    row = refreshed(queued)
    assert (row.reason_code, row.reason, row.waiting_since, row.waits) == ("", "", None, 0)
    assert len(claim(starter)) == 1, "After the outage nothing waits for the end of a pause."


def test_jobs_that_were_never_claimed_say_what_they_wait_for_too(queued: InferenceJob, starter: Any) -> None:
    retries.note_outage("no-worker")
    since = refreshed(queued).waiting_since
    retries.note_outage("no-worker")
    row = refreshed(queued)
    assert row.waiting_since == since is not None
    assert "no inference worker has a model loaded" in row.reason
    (held,) = claim(starter)
    assert refreshed(queued).reason == ""
    with tenant_tx(queued.tenant_id):
        services.complete_jobs(results=[as_result(held)], version=starter)
    assert refreshed(queued).reason == ""


def test_a_device_that_fails_on_one_image_alone_while_it_reads_others_is_no_outage(
    queued: InferenceJob, starter: Any, north: Hospital, store_film: Callable[..., Any]
) -> None:
    (held,) = claim(starter)
    for _ in range(5):
        retries.return_after_failure(job=held, code="device-failed")
        end_pauses()
        (held,) = claim(starter, suspect=True)
    assert refreshed(queued).attempts == 1, "Nothing else was read meanwhile: the device may be away."
    store_film(north, seed=2, size=128)
    (other,) = claim(starter)
    with tenant_tx(north.tenant.id):
        services.complete_jobs(results=[as_result(other)], version=starter)
    retries.return_after_failure(job=held, code="device-failed")
    end_pauses()
    claim(starter, suspect=True)
    assert refreshed(queued).attempts == 2


def test_an_instance_that_arrives_while_a_job_runs_is_read_by_another(
    queued: InferenceJob, starter: Any, north: Hospital, store_film: Callable[..., Any]
) -> None:
    (held,) = claim(starter)
    with tenant_tx(north.tenant.id):
        result = as_result(held)
        uid = result.instance.series.study.study_instance_uid
    store_film(north, seed=2, size=256, study_uid=uid, patient_id="SYN-000001")
    with tenant_tx(north.tenant.id):
        services.complete_jobs(results=[result], version=starter)
        assert list(InferenceJob.objects.order_by("id").values_list("state", flat=True)) == [
            JobState.COMPLETE,
            JobState.QUEUED,
        ]


def test_the_dispatcher_role_cannot_read_patients_or_findings(db: None) -> None:
    for table in ("studies_patient", "studies_study", "inference_finding", "reports_report", "audit_auditevent"):
        with connections["dispatch"].cursor() as cursor, pytest.raises(Exception, match="permission denied"):
            cursor.execute(f"select * from {table}")


def fail_for_good(job: InferenceJob, starter: Any) -> None:
    for _ in range(MAX_ATTEMPTS):
        end_pauses()
        (held,) = claim(starter)
        retries.return_after_failure(job=held, code="inference-error")
    assert refreshed(job).state == JobState.FAILED


def test_sending_a_film_again_retries_a_failed_reading(
    queued: InferenceJob, starter: Any, north: Hospital, store_film: Callable[..., Any]
) -> None:
    fail_for_good(queued, starter)
    store_film(north, size=128)
    with tenant_tx(north.tenant.id):
        assert InferenceJob.objects.latest("id").state == JobState.QUEUED


def test_a_film_that_came_during_the_last_attempt_is_read(
    queued: InferenceJob, starter: Any, north: Hospital, store_film: Callable[..., Any]
) -> None:
    with tenant_tx(north.tenant.id):
        uid = Instance.objects.get().series.study.study_instance_uid
    store_film(north, seed=2, size=128, study_uid=uid, patient_id="SYN-000001")
    fail_for_good(queued, starter)
    with tenant_tx(north.tenant.id):
        assert list(InferenceJob.objects.order_by("id").values_list("state", flat=True)) == [
            JobState.FAILED,
            JobState.QUEUED,
        ]

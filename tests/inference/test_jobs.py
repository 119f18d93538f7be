"""The life of a job: claims, fences, leases, retries."""

import datetime
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from django.db import connections
from django.utils import timezone

from apps.inference import services
from apps.inference.models import Finding, InferenceJob, JobState
from apps.registry.engine import LABELS
from apps.studies.models import Instance
from apps.tenants.scope import tenant_tx
from tests.conftest import Hospital


@pytest.fixture
def queued(starter: Any, north: Hospital, store_film: Callable[..., Any]) -> InferenceJob:
    store_film(north, size=128)
    with tenant_tx(north.tenant.id):
        return InferenceJob.objects.get()


def claim(starter: Any, limit: int = 8) -> list[services.ClaimedJob]:
    return services.claim_jobs(limit=limit, version=starter, worker="test")


def as_result(job: services.ClaimedJob, probability: float = 0.5) -> services.Result:
    return services.Result(
        job=job,
        instance=Instance.objects.get(),
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
    assert (row.state, row.attempt, row.fence, row.model_version_id) == (JobState.RUNNING, 1, held.fence, starter.pk)
    assert claim(starter) == []


def test_a_late_worker_writes_nothing_after_its_lease_was_taken(queued: InferenceJob, starter: Any) -> None:
    (late,) = claim(starter)
    let_lease_expire()
    assert services.expire_leases() == 1
    InferenceJob.objects.using("dispatch").update(run_after=None)
    (current,) = claim(starter)
    with tenant_tx(queued.tenant_id):
        assert services.complete(results=[as_result(late)], version=starter) == []
        assert services.reject(job=late, code="not-chest", reason="Late.", instances_seen=1) is None
        assert not Finding.objects.exists()
        assert len(services.complete(results=[as_result(current)], version=starter)) == 1
        assert Finding.objects.count() == len(LABELS)


def test_a_claim_that_the_database_lost_writes_nothing_into_the_next(queued: InferenceJob, starter: Any) -> None:
    """A claim does not wait for the disk: after a crash its row may be as it was before."""
    before = InferenceJob.objects.using("dispatch").values("state", "attempt", "fence", "lease_until").get()
    (lost,) = claim(starter)
    InferenceJob.objects.using("dispatch").update(**before, model_version_id=None)
    (current,) = claim(starter)
    with tenant_tx(queued.tenant_id):
        assert services.complete(results=[as_result(lost)], version=starter) == []
        assert services.reject(job=lost, code="not-chest", reason="Lost.", instances_seen=1) is None
    services.give_back(job=lost, code="inference-error", reason="lost.")
    assert refreshed(queued).state == JobState.RUNNING
    with tenant_tx(queued.tenant_id):
        assert len(services.complete(results=[as_result(current)], version=starter)) == 1


def test_a_job_that_kills_its_worker_three_times_fails_visibly(queued: InferenceJob, starter: Any) -> None:
    for attempt in range(1, 4):
        InferenceJob.objects.using("dispatch").update(run_after=None)
        assert len(claim(starter)) == 1
        assert refreshed(queued).attempt == attempt
        let_lease_expire()
        services.expire_leases()
    row = refreshed(queued)
    assert row.state == JobState.FAILED
    assert row.reason_code == "worker-lost"
    assert row.reason.startswith("AI result unavailable")
    assert claim(starter) == []


def test_a_retry_waits_before_it_is_claimed_again(queued: InferenceJob, starter: Any) -> None:
    (held,) = claim(starter)
    services.give_back(job=held, code="source-unreadable", reason="the image could not be read.")
    row = refreshed(queued)
    assert row.state == JobState.QUEUED
    assert row.run_after is not None
    assert row.run_after > timezone.now()
    assert claim(starter) == []


def test_an_instance_that_arrives_while_a_job_runs_is_read_by_another(
    queued: InferenceJob, starter: Any, north: Hospital, store_film: Callable[..., Any]
) -> None:
    (held,) = claim(starter)
    with tenant_tx(north.tenant.id):
        result = as_result(held)
        uid = result.instance.series.study.study_instance_uid
    store_film(north, seed=2, size=128, study_uid=uid, patient_id="SYN-000001")
    with tenant_tx(north.tenant.id):
        services.complete(results=[result], version=starter)
        assert list(InferenceJob.objects.order_by("id").values_list("state", flat=True)) == [
            JobState.COMPLETE,
            JobState.QUEUED,
        ]


def test_the_dispatcher_role_cannot_read_patients_or_findings(db: None) -> None:
    for table in ("studies_patient", "studies_study", "inference_finding", "reports_report", "audit_auditevent"):
        with connections["dispatch"].cursor() as cursor, pytest.raises(Exception, match="permission denied"):
            cursor.execute(f"select * from {table}")


def fail_for_good(job: InferenceJob, starter: Any) -> None:
    for _ in range(3):
        InferenceJob.objects.using("dispatch").update(run_after=None)
        claim(starter)
        let_lease_expire()
        services.expire_leases()
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

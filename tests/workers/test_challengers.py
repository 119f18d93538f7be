"""Challengers in a worker: a canary's share, shadow readings that wait and are shown nowhere, and their end."""

from collections.abc import Callable
from typing import Any

import pytest
from django.core.files.storage import default_storage

from apps.audit.services import Actor
from apps.core.work_queue import JobState
from apps.deployment.models import Challenger, canary_reads
from apps.deployment.services import challenge, end_challenge
from apps.inference.models import Finding, HeatmapGrids, InferenceJob, ShadowReading, Worker
from apps.inference.retries import expire_leases
from apps.inference.shadows import ShadowResult, claim_shadows, complete_shadows, drop_ended_shadows
from apps.registry.models import ModelVersion
from apps.reports.models import ReportDraft
from apps.tenants.scope import tenant_tx
from ml.labels import LABELS
from ml.model.manifest import MANIFEST
from tests.conftest import Hospital
from tests.flows.processes import wait_for
from tests.workers.loading import held, registered, run_until_held, second, working
from workers.inference_worker import InferenceWorker

__all__ = ["second"]


def shadows(hospital: Hospital) -> list[ShadowReading]:
    with tenant_tx(hospital.tenant.id):
        return list(ShadowReading.objects.select_related("job").order_by("id"))


def jobs(hospital: Hospital) -> list[InferenceJob]:
    with tenant_tx(hospital.tenant.id):
        return list(InferenceJob.objects.select_related("model_version").order_by("id"))


def test_a_shadow_reads_after_the_clinicians_films_and_leaves_only_its_own_row(
    starter: Any, second: ModelVersion, north: Hospital, south: Hospital, store_film: Callable[..., Any]
) -> None:
    challenge(version=second, by=Actor(name="test"), tenant=north.tenant)
    for hospital in (north, south):
        for seed in (1, 2):
            store_film(hospital, seed=seed, size=256)
    with working() as worker:
        run_until_held(worker, second, "shadow")
        wait_for(lambda: worker.run() == 0, 30, "The end of the queues")
    assert {each.model_version for hospital in (north, south) for each in jobs(hospital)} == {starter}
    assert shadows(south) == []
    for reading in shadows(north):
        assert reading.state == JobState.COMPLETE
        assert set(reading.probabilities) == set(LABELS)
        assert reading.thresholds["Mass"] == second.thresholds["Mass"]["value"]
        with tenant_tx(north.tenant.id):
            said = dict(Finding.objects.filter(job=reading.job).values_list("label", "probability"))
        assert reading.probabilities == pytest.approx(said, abs=1e-5), "the same network on the same film"
    with tenant_tx(north.tenant.id):
        counts = [model.objects.count() for model in (ShadowReading, Finding, HeatmapGrids, ReportDraft)]
    assert counts == [2, 2 * 14, 2, 2]


def test_a_clinicians_film_that_comes_while_shadows_are_read_goes_first(
    starter: Any, second: ModelVersion, north: Hospital, store_film: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    challenge(version=second, by=Actor(name="test"))
    order: list[str] = []
    real = InferenceWorker._predict_and_write

    def predict(self: InferenceWorker, batch: Any) -> None:
        order.extend(type(reading.claim).__name__ for reading in batch.readings)
        if order == ["ClaimedJob"] * 6 + ["ClaimedShadow"]:
            store_film(north, seed=9, size=256)
        real(self, batch)

    with working() as worker:
        run_until_held(worker, second, "shadow")
        monkeypatch.setattr("workers.inference_worker._SHADOW_BATCH", 1)
        monkeypatch.setattr(InferenceWorker, "_predict_and_write", predict)
        for seed in range(6):
            store_film(north, seed=seed, size=256)
        wait_for(lambda: worker.run() == 0, 30, "The end of the queues")
    assert order[:7] == ["ClaimedJob"] * 6 + ["ClaimedShadow"]
    # When the film comes, one shadow may be in the network, one be decoded and one be claimed.
    assert "ClaimedJob" in order[7:11]
    assert order.count("ClaimedShadow") == order.count("ClaimedJob") == 7


def test_a_canary_reads_its_share_and_the_job_says_so(
    starter: Any, second: ModelVersion, north: Hospital, south: Hospital, store_film: Callable[..., Any]
) -> None:
    challenge(version=second, by=Actor(name="test"), tenant=north.tenant, percent=50)
    row = Challenger.objects.get()
    with working() as worker:
        run_until_held(worker, second, "canary")
        for hospital in (north, south):
            for seed in range(8):
                store_film(hospital, seed=seed, size=256)
        assert worker.run() == 16
    expected = [second if canary_reads(row.pk, 50, job.study_id) else starter for job in jobs(north)]
    assert [job.model_version for job in jobs(north)] == expected
    assert {second, starter} == set(expected)
    assert {job.model_version for job in jobs(south)} == {starter}
    assert shadows(north) == []


def test_a_challenger_that_cannot_be_loaded_keeps_nobody_waiting(
    starter: Any, second: ModelVersion, north: Hospital, south: Hospital, store_film: Callable[..., Any], tmp_path: Any
) -> None:
    bad = registered(tmp_path / "bad", "A bad one.")
    default_storage.delete(f"{bad.object_prefix}/{MANIFEST}")
    challenge(version=bad, by=Actor(name="test"), tenant=north.tenant, percent=99)
    challenge(version=bad, by=Actor(name="test"), tenant=south.tenant)
    for hospital in (north, south):
        store_film(hospital, seed=1, size=256)
    with working() as worker:
        assert worker.run() == 2
        run_until_held(worker, bad, "refused")
        wait_for(lambda: Worker.objects.filter(error__contains=str(bad)).exists(), 10, "Its reason")
    assert [jobs(hospital)[0].model_version for hospital in (north, south)] == [starter, starter]
    assert [reading.state for reading in shadows(south)] == [JobState.QUEUED]


def test_an_ended_shadow_drops_what_waits_and_keeps_what_was_read(
    starter: Any, second: ModelVersion, north: Hospital, store_film: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    challenge(version=second, by=Actor(name="test"))
    with working() as worker:
        run_until_held(worker, second, "shadow")
        store_film(north, seed=1, size=256)
        wait_for(lambda: worker.run() == 0 and shadows(north)[0].state == JobState.COMPLETE, 30, "A shadow reading")
    row = Challenger.objects.get()
    store_film(north, seed=2, size=256)
    # Another worker, which does not hold the shadow, reads for the clinician.
    with monkeypatch.context() as patched, working() as worker:
        patched.setattr("workers.versions.open_challengers", dict)
        assert worker.run() == 1
    assert [each.state for each in shadows(north)] == [JobState.COMPLETE, JobState.QUEUED]
    assert drop_ended_shadows() == 0
    end_challenge(by=Actor(name="test"))
    with working() as worker:
        worker.run()
        assert str(second) not in held()
    assert [each.state for each in shadows(north)] == [JobState.COMPLETE, JobState.QUEUED]
    assert drop_ended_shadows() == 1
    assert [(each.state, each.challenger_id) for each in shadows(north)] == [(JobState.COMPLETE, row.pk)]


def test_a_shadow_reading_is_tried_three_times_and_its_job_stays_as_it_was(
    starter: Any, second: ModelVersion, north: Hospital, store_film: Callable[..., Any], read_studies: Callable[[], int]
) -> None:
    challenge(version=second, by=Actor(name="test"))
    row = Challenger.objects.get()
    film = store_film(north, seed=1, size=256)
    wait_for(lambda: read_studies() or shadows(north), 30, "The clinicians' reading")
    with tenant_tx(north.tenant.id):
        ShadowReading.objects.update(state=JobState.QUEUED, attempts=0, lease_until=None, probabilities={})
        # Its worker died once, with others; from then on it is read alone.
        ShadowReading.objects.update(is_suspect=True)
    for attempt in (1, 2, 3):
        with tenant_tx(north.tenant.id):
            ShadowReading.objects.update(run_after=None)
        (claim,) = claim_shadows(limit=8, versions={row.pk: second.pk}, worker="gone", suspect=True)
        assert (claim.tenant_id, claim.fence) == (north.tenant.id, shadows(north)[0].fence)
        if attempt == 1:
            lost = claim
        with tenant_tx(north.tenant.id):
            late = [ShadowResult(lost, dict.fromkeys(LABELS, 0.5))] if attempt == 2 else []
            complete_shadows(results=late, version=second)
        assert shadows(north)[0].probabilities == {}, "a worker that was thought dead writes nothing"
        with tenant_tx(north.tenant.id):
            ShadowReading.objects.update(lease_until="2020-01-01T00:00Z")
        assert expire_leases() == 1
        assert shadows(north)[0].attempts == attempt
    assert (shadows(north)[0].state, shadows(north)[0].reason_code) == (JobState.FAILED, "worker-lost")
    (job,) = jobs(north)
    assert (job.state, job.study_id) == (JobState.COMPLETE, film.study.pk)

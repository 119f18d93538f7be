"""What a worker stores for studies: complete results, or refusals with a reason."""

import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.db import DataError, OperationalError, connections

from apps.audit.services import Actor
from apps.core.work_queue import JobState
from apps.critical.models import CriticalNotice, CriticalRule, NoticeEvent
from apps.deployment.points import PointChoice
from apps.deployment.services import set_points
from apps.inference import services as inference
from apps.inference.models import Finding, HeatmapGrids, InferenceJob
from apps.inference.selectors import get_heatmap
from apps.registry.engine import LABELS, Predictor
from apps.reports.models import ReportDraft
from apps.studies.models import Study
from apps.tenants.scope import tenant_tx
from tests.conftest import Hospital
from tests.flows.processes import wait_for
from workers.inference_worker import InferenceWorker


def only_job(hospital: Hospital) -> InferenceJob:
    with tenant_tx(hospital.tenant.id):
        return InferenceJob.objects.select_related("model_version").latest("id")


def test_a_frontal_film_gets_findings_heatmaps_and_a_preliminary_report(
    starter: Any, north: Hospital, store_film: Callable[..., Any], read_studies: Callable[[], int]
) -> None:
    store_film(north, size=512)
    assert read_studies() == 1
    job = only_job(north)
    assert (job.state, job.reason) == (JobState.COMPLETE, "")
    assert job.model_version == starter
    with tenant_tx(north.tenant.id):
        assert {finding.label for finding in Finding.objects.all()} == set(LABELS)
        assert all(0 <= finding.probability <= 1 for finding in Finding.objects.all())
        rows, columns = starter.manifest["grid"]
        assert len(HeatmapGrids.objects.get().data) == (len(LABELS) + 1) * rows * columns * 2
        assert ReportDraft.objects.get().job == job
        assert get_heatmap(study=Study.objects.get(), label=LABELS[0]).grid.shape == (rows, columns)


@pytest.mark.parametrize(
    ("attributes", "word"),
    [({"view_position": "LL"}, "lateral"), ({"size": 128}, "too few pixels")],
)
def test_a_film_that_the_model_must_not_score_is_refused_with_its_reason(
    starter: Any, north: Hospital, store_film: Callable[..., Any], read_studies: Callable[[], int],
    attributes: dict[str, Any], word: str,
) -> None:  # fmt: skip
    store_film(north, **{"size": 512, **attributes})
    read_studies()
    job = only_job(north)
    assert job.state == JobState.REJECTED
    assert word in job.reason.lower()
    with tenant_tx(north.tenant.id):
        assert not Finding.objects.exists()
        assert not ReportDraft.objects.exists()


def test_the_extremity_film_is_refused_by_its_tags(
    starter: Any, north: Hospital, read_studies: Callable[[], int], test_data: Path
) -> None:
    from apps.audit.services import Actor
    from apps.ingest.intake import ingest_instance, inspect_file
    from apps.studies.spool import open_spool

    with open_spool() as spool:
        film = inspect_file(spool.write((test_data / "dicom/other/rg3_cr_extremity_j2k.dcm").read_bytes()))
        ingest_instance(film, tenant_id=north.tenant.id, by=Actor(name="test"), source="test")
    read_studies()
    assert only_job(north).state == JobState.REJECTED


def test_the_frontal_film_of_a_study_is_read_and_not_its_lateral(
    starter: Any, north: Hospital, store_film: Callable[..., Any], read_studies: Callable[[], int]
) -> None:
    frontal = store_film(north, seed=1, study_uid="1.2.3", patient_id="A", view_position="PA").instance
    store_film(north, seed=2, study_uid="1.2.3", patient_id="A", view_position="LL")
    read_studies()
    job = only_job(north)
    assert job.state == JobState.COMPLETE
    assert job.instance_id == frontal.pk


def test_one_film_that_breaks_the_network_does_not_fail_its_batchmates(
    starter: Any, north: Hospital, store_film: Callable[..., Any], read_studies: Callable[[], int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    for seed in range(3):
        store_film(north, seed=seed, size=256)
    real = Predictor.predict
    breaking: list[bytes] = []

    def predict(self: Predictor, batch: Any) -> Any:
        breaking.extend([batch[0].tobytes()] if not breaking else [])
        if any(film.tobytes() in breaking for film in batch):
            raise FloatingPointError("The network gave a non-finite logit.")
        return real(self, batch)

    monkeypatch.setattr(Predictor, "predict", predict)
    read_studies()
    with tenant_tx(north.tenant.id):
        states = sorted(InferenceJob.objects.values_list("state", flat=True))
    assert states == [JobState.COMPLETE, JobState.COMPLETE, JobState.QUEUED]


def test_a_film_that_comes_while_another_is_in_the_network_is_taken_at_once(
    starter: Any, north: Hospital, store_film: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = store_film(north, seed=1, size=256)
    in_network, second_came = threading.Event(), threading.Event()
    real = Predictor.predict

    def predict(self: Predictor, batch: Any) -> Any:
        if not in_network.is_set():
            in_network.set()
            assert second_came.wait(30), "The second film was not taken meanwhile."
        second_came.set()
        return real(self, batch)

    with InferenceWorker(device="cpu") as worker, ThreadPoolExecutor(1) as pool:
        monkeypatch.setattr(Predictor, "predict", predict)
        taken = pool.submit(worker.run)
        assert in_network.wait(30)
        store_film(north, seed=2, size=256)
        assert worker.run() == 0, "The thread that is at it does this, too."
        assert taken.result(30) == 2
        pool.submit(connections.close_all)
    with tenant_tx(north.tenant.id):
        assert set(InferenceJob.objects.values_list("state", "attempts")) == {(JobState.COMPLETE, 1)}
        assert Finding.objects.filter(job__study=first.study).exists()


def test_where_the_device_fails_every_film_is_given_back_once_and_the_worker_ends(
    starter: Any, north: Hospital, store_film: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(3):
        store_film(north, seed=seed, size=256)
    given_up: list[str] = []
    with InferenceWorker(device="cpu", give_up=given_up.append) as worker:
        monkeypatch.setattr(Predictor, "predict", raising(RuntimeError("CUDA error: an illegal memory access")))
        assert worker.run() == 3
    assert given_up == ["The device fails on the golden image as well."]
    with tenant_tx(north.tenant.id):
        assert set(InferenceJob.objects.values_list("state", "attempts")) == {(JobState.QUEUED, 0)}
        assert all("device failed" in job.reason for job in InferenceJob.objects.all())


def test_a_forward_that_hangs_ends_the_worker(
    starter: Any, north: Hospital, store_film: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    store_film(north, seed=1, size=256)
    settings.INFERENCE_STUCK_SECONDS = 0
    monkeypatch.setattr("workers.heartbeat.BEAT_SECONDS", 0.1)
    given_up = threading.Event()

    def hang(self: Predictor, batch: Any) -> Any:
        assert given_up.wait(30), "The worker did not notice."
        raise RuntimeError("The hung forward came back after all.")

    with InferenceWorker(device="cpu", give_up=lambda reason: given_up.set()) as worker:
        monkeypatch.setattr(Predictor, "predict", hang)
        worker.run()
    assert given_up.is_set()


def test_a_worker_without_a_version_waits_and_says_so(north: Hospital, store_film: Callable[..., Any]) -> None:
    from apps.inference.models import Worker

    store_film(north, size=256)
    with contextlib.ExitStack() as stack:
        worker = stack.enter_context(InferenceWorker(device="cpu"))
        assert worker.run() == 0
        wait_for(lambda: Worker.objects.filter(error__contains="activate").exists(), 10, "The worker's word")
    assert only_job(north).state == JobState.QUEUED


def test_a_database_error_between_claim_and_write_lets_the_leases_go(
    starter: Any, north: Hospital, store_film: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    store_film(north, size=256)
    with InferenceWorker(device="cpu") as worker:
        monkeypatch.setattr("workers.inference_worker.choose_images", raising(OperationalError("gone")))
        with pytest.raises(OperationalError):
            worker.run()
        assert worker._heartbeat._held == {}
        wait_for(lambda: only_job(north).state == JobState.QUEUED, 30, "The job's return")
    job = only_job(north)
    assert (job.attempts, job.reason_code) == (0, "database-unavailable")


def test_suspects_are_read_alone_and_keep_no_other_job_waiting(
    starter: Any, north: Hospital, store_film: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(10):
        store_film(north, seed=seed, size=256)
    with tenant_tx(north.tenant.id):
        InferenceJob.objects.update(is_suspect=True)
    for seed in (10, 11, 12):
        store_film(north, seed=seed, size=256)
    sizes: list[int] = []
    with InferenceWorker(device="cpu") as worker:
        real = Predictor.predict

        def predict(self: Predictor, batch: Any) -> Any:
            sizes.append(len(batch))
            return real(self, batch)

        monkeypatch.setattr(Predictor, "predict", predict)
        assert worker.run() == 13
    assert sizes[:9] == [1] * 8 + [3]
    assert sizes[9:] == [1, 1]
    with tenant_tx(north.tenant.id):
        assert set(InferenceJob.objects.values_list("state", "attempts")) == {(JobState.COMPLETE, 1)}


def test_a_write_that_fails_for_one_film_keeps_the_others(
    starter: Any, north: Hospital, south: Hospital, store_film: Callable[..., Any], read_studies: Callable[[], int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    bad = store_film(north, seed=1, size=256).study
    store_film(north, seed=2, size=256)
    store_film(south, seed=3, size=256)
    real = inference.complete_jobs

    def complete_jobs(*, results: list[Any], version: Any) -> Any:
        if any(result.job.study_id == bad.pk for result in results):
            raise DataError("a value that PostgreSQL refuses")
        return real(results=results, version=version)

    monkeypatch.setattr(inference, "complete_jobs", complete_jobs)
    read_studies()
    with tenant_tx(north.tenant.id):
        states = dict(InferenceJob.objects.values_list("study_id", "state"))
    assert states.pop(bad.pk) == JobState.QUEUED
    assert list(states.values()) == [JobState.COMPLETE]
    assert only_job(south).state == JobState.COMPLETE


def raising(error: Exception) -> Callable[..., Any]:
    def raises(*_: Any, **__: Any) -> Any:
        raise error

    return raises


def test_a_flagged_critical_finding_opens_its_notice_with_the_reading(
    starter: Any, north: Hospital, store_film: Callable[..., Any], read_studies: Callable[[], int]
) -> None:
    with tenant_tx(north.tenant.id):
        CriticalRule.objects.bulk_create(CriticalRule(label=label) for label in LABELS)
    low = PointChoice("manual", value=0.01, reason="The shipped version flags hardly any synthetic film.")
    set_points(tenant=north.tenant, version=starter, choices={"Effusion": low}, recent={}, by=Actor(name="test"))
    store_film(north, size=512, findings=("Effusion", "Cardiomegaly"))
    assert read_studies() == 1
    with tenant_tx(north.tenant.id):
        flagged = set(Finding.objects.filter(positive=True).values_list("label", flat=True))
        assert flagged
        assert set(CriticalNotice.objects.values_list("label", flat=True)) == flagged
        assert set(NoticeEvent.objects.values_list("user__email", flat=True)) == {north.admin.email}

"""Data survives a killed worker, a broker that loses everything, and a damaged artifact."""

import os
import shutil
import signal
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest
from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from apps.audit.services import Actor
from apps.core.work_queue import JobState
from apps.deployment.services import activate, challenge
from apps.inference.models import Finding, InferenceJob, ShadowReading, Worker
from apps.registry.services import fetch_artifact, register
from apps.reports.models import ReportDraft
from apps.tenants.scope import tenant_tx
from config.embedded import paths, valkey
from tests.conftest import STARTER, Hospital
from tests.dicomweb.web import MULTIPART, multipart
from tests.flows.processes import running, start, wait_for
from workers.inference_worker import InferenceWorker
from workers.polling import QueuePoller

QUICK = {"INFERENCE_LEASE_SECONDS": "3", "INFERENCE_BATCH_SIZE": "4"}


def shadow_states(hospital: Hospital) -> list[str]:
    with tenant_tx(hospital.tenant.id):
        return list(ShadowReading.objects.values_list("state", flat=True))


def states(hospital: Hospital) -> list[str]:
    with tenant_tx(hospital.tenant.id):
        return list(InferenceJob.objects.values_list("state", flat=True))


def test_a_killed_worker_loses_nothing_and_doubles_nothing(
    starter: Any, north: Hospital, south: Hospital, store_film: Callable[..., Any], tmp_path: Path
) -> None:
    hospitals = (north, south)
    for seed in range(8):
        for hospital in hospitals:
            store_film(hospital, seed=seed, size=256)
    log = tmp_path / "worker.log"
    worker = start("worker", log, **QUICK)
    wait_for(lambda: JobState.RUNNING in states(north) + states(south), 90, "A first claim")
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    assert JobState.RUNNING in states(north) + states(south)

    with running("dispatcher", tmp_path / "dispatcher.log", **QUICK), running("worker", log, **QUICK):
        wait_for(lambda: set(states(north) + states(south)) == {JobState.COMPLETE}, 60, "Completion of every study")

    for hospital in hospitals:
        with tenant_tx(hospital.tenant.id):
            assert InferenceJob.objects.count() == 8
            assert Finding.objects.count() == 8 * 14
            assert ReportDraft.objects.count() == 8
            assert max(InferenceJob.objects.values_list("attempts", flat=True)) <= 2


def test_a_broker_that_was_stopped_and_came_back_empty_delays_but_loses_nothing(
    starter: Any, north: Hospital, store_film: Callable[..., Any], tmp_path: Path
) -> None:
    with running("worker", tmp_path / "worker.log"), running("dispatcher", tmp_path / "dispatcher.log"):
        store_film(north, seed=1, size=256)
        wait_for(lambda: states(north) == [JobState.COMPLETE], 90, "The first result")
        broker = valkey.process()
        assert broker is not None
        broker.kill()
        broker.wait(60)
        store_film(north, seed=2, size=256)
        shutil.rmtree(paths.prepared_home() / "valkey")
        valkey.start()
        wait_for(lambda: states(north) == [JobState.COMPLETE] * 2, 60, "The result that had no wake-up message")


def damaged(weights: bytes, damage: str) -> bytes:
    if damage == "bit flip":
        return weights[:5000] + bytes([weights[5000] ^ 1]) + weights[5001:]
    return weights[: len(weights) // 2] if damage == "truncated" else b"\x80\x04N."


@pytest.fixture
def candidate(starter: Any, tmp_path: Path) -> Any:
    """A second version, registered and not yet in service."""
    folder = shutil.copytree(STARTER, tmp_path / "candidate", copy_function=shutil.copyfile)
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"card": "', f'"card": "{tmp_path.name}. ', 1))
    version = register(artifact_dir=folder)
    assert version.pk != starter.pk
    return version


def read_one(hospital: Hospital, read_studies: Callable[[], int]) -> InferenceJob:
    assert read_studies() == 1
    with tenant_tx(hospital.tenant.id):
        return InferenceJob.objects.select_related("model_version").get()


@pytest.mark.parametrize("damage", ["bit flip", "truncated", "pickle"])
def test_a_version_damaged_in_the_storage_leaves_the_old_one_serving(
    starter: Any, candidate: Any, north: Hospital, store_film: Callable[..., Any], read_studies: Callable[[], int],
    damage: str,
) -> None:  # fmt: skip
    key = f"{candidate.object_prefix}/model.safetensors"
    with default_storage.open(key) as stored:
        weights = stored.read()
    default_storage.delete(key)
    default_storage.save(key, ContentFile(damaged(weights, damage)))
    activate(version=candidate, by=Actor(name="test"))
    wait_for(
        lambda: read_studies() or Worker.objects.exclude(error="").exists(), 30, "The worker's report about the version"
    )
    store_film(north, seed=1, size=256)
    job = read_one(north, read_studies)
    assert (job.state, job.model_version) == (JobState.COMPLETE, starter)


def test_a_copy_damaged_on_this_machine_is_fetched_anew(
    candidate: Any, north: Hospital, store_film: Callable[..., Any], read_studies: Callable[[], int]
) -> None:
    weights = fetch_artifact(candidate) / "model.safetensors"
    weights.write_bytes(damaged(weights.read_bytes(), "truncated"))
    activate(version=candidate, by=Actor(name="test"))
    wait_for(lambda: read_studies() or Worker.objects.filter(model_version=candidate).exists(), 90, "The switch")
    store_film(north, seed=1, size=256)
    job = read_one(north, read_studies)
    assert (job.state, job.model_version) == (JobState.COMPLETE, candidate)


def test_an_idle_worker_loads_the_version_that_came_into_service(starter: Any, candidate: Any) -> None:
    with InferenceWorker(device="cpu") as worker, closing(QueuePoller(worker, quiet=0.2)) as watch:
        watch.start()
        activate(version=candidate, by=Actor(name="test"))
        wait_for(lambda: Worker.objects.filter(model_version=candidate).exists(), 90, "The switch of an idle worker")


def test_films_are_read_while_the_broker_is_dead(
    starter: Any, north: Hospital, make_film: Callable[..., Path], client: Any, tmp_path: Path
) -> None:
    with running("worker", tmp_path / "worker.log") as worker:
        wait_for(lambda: Worker.objects.exclude(model_version=None).exists(), 90, "The start of the worker")
        # It steps back for what takes films in.
        assert psutil.Process(worker.pid).nice() == os.nice(0) + settings.INFERENCE_NICENESS
        broker = valkey.process()
        assert broker is not None
        broker.kill()
        broker.wait(60)
        try:
            film = multipart([make_film(size=256).read_bytes()])
            answer = client.post("/dicom-web/studies", film, content_type=MULTIPART, headers=north.bearer)
            assert answer.status_code == 200, answer.content
            wait_for(lambda: states(north) == [JobState.COMPLETE], 40, "A result without a broker")
        finally:
            valkey.start()


@pytest.mark.long
def test_a_worker_that_is_killed_while_it_reads_for_a_shadow_loses_nothing(
    starter: Any, candidate: Any, north: Hospital, store_film: Callable[..., Any], tmp_path: Path
) -> None:
    for seed in range(12):
        store_film(north, seed=seed, size=256)
    challenge(version=candidate, by=Actor(name="test"))
    log = tmp_path / "worker.log"
    worker = start("worker", log, **QUICK)
    wait_for(lambda: shadow_states(north).count(JobState.RUNNING), 120, "A first shadow batch")
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    assert JobState.RUNNING in shadow_states(north)

    with running("dispatcher", tmp_path / "dispatcher.log", **QUICK), running("worker", log, **QUICK):
        # Jobs of a batch that was in the network when the worker died wait for their lease, and their shadows for them.
        wait_for(lambda: shadow_states(north) == [JobState.COMPLETE] * 12, 90, "Every shadow reading")

    assert states(north) == [JobState.COMPLETE] * 12
    with tenant_tx(north.tenant.id):
        assert ShadowReading.objects.count() == 12
        # It was not alone in the worker that died, so that death spends no attempt of it.
        assert set(ShadowReading.objects.values_list("attempts", flat=True)) == {1}
        assert Finding.objects.count() == 12 * 14
        assert ReportDraft.objects.count() == 12

"""What must survive: a killed worker, a broker that forgets everything, an artifact that rots."""

import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from apps.inference.models import Finding, InferenceJob, JobState
from apps.registry.services import activate, register
from apps.reports.models import Report
from apps.tenants.scope import tenant_tx
from config.embedded import places, valkey
from tests.conftest import STARTER, Hospital
from tests.flows.processes import running, start, wait_for

QUICK = {"INFERENCE_LEASE_SECONDS": "3", "INFERENCE_BATCH_SIZE": "4"}


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
            assert Report.objects.count() == 8
            assert max(InferenceJob.objects.values_list("attempt", flat=True)) <= 2


def test_a_broker_that_was_stopped_and_came_back_empty_delays_but_loses_nothing(
    starter: Any, north: Hospital, store_film: Callable[..., Any], tmp_path: Path
) -> None:
    with running("worker", tmp_path / "worker.log"), running("dispatcher", tmp_path / "dispatcher.log"):
        store_film(north, seed=1, size=256)
        wait_for(lambda: states(north) == [JobState.COMPLETE], 90, "The first result")
        broker = valkey.process()
        assert broker is not None
        broker.kill()
        broker.wait(10)
        store_film(north, seed=2, size=256)
        shutil.rmtree(places.prepared_home() / "valkey")
        valkey.start()
        wait_for(lambda: states(north) == [JobState.COMPLETE] * 2, 60, "The result that had no bell")


@pytest.mark.parametrize("damage", ["bit flip", "truncated", "pickle"])
def test_a_damaged_artifact_in_the_cache_leaves_the_old_version_serving(
    starter: Any, north: Hospital, store_film: Callable[..., Any], read_studies: Callable[[], int], tmp_path: Path,
    settings: Any, damage: str,
) -> None:  # fmt: skip
    candidate = shutil.copytree(STARTER, tmp_path / "candidate", copy_function=shutil.copyfile)
    manifest = candidate / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"card": "', '"card": "Second. ', 1))
    version = register(artifact_dir=candidate)
    assert version.pk != starter.pk
    cached = settings.MODEL_CACHE_DIR / version.sha256
    shutil.copytree(candidate, cached, copy_function=shutil.copyfile)
    weights = cached / "model.safetensors"
    data = bytearray(weights.read_bytes())
    if damage == "bit flip":
        data[len(data) // 2] ^= 1
    weights.write_bytes(
        data[: len(data) // 2] if damage == "truncated" else data if damage == "bit flip" else b"\x80\x04N."
    )

    activate(version=version, actor="test")
    store_film(north, seed=1, size=256)
    assert read_studies() == 1

    with tenant_tx(north.tenant.id):
        job = InferenceJob.objects.select_related("model_version").get()
    assert job.state == JobState.COMPLETE
    assert job.model_version == starter
    shutil.rmtree(cached)

"""Killed workers, images that crash them, and a storage outage: every image is read or shows the reason."""

import hashlib
import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.db import connections

from apps.core.work_queue import JobState, waiting_reason
from apps.inference.loading import load_version
from apps.inference.models import InferenceJob
from apps.inference.selectors import oldest_outage
from apps.reading.selectors import listed_studies
from apps.registry.engine import Manifest, load_input
from apps.tenants.scope import tenant_tx
from config.embedded import postgres
from config.processes import ENVIRONMENT, command
from config.supervisor import Service, Supervisor
from tests.conftest import Hospital
from tests.faults.invariants import broken_invariants
from tests.faults.object_server import ObjectServer
from tests.faults.servers import hanging, postgres_is_back
from tests.flows.processes import running, wait_for
from workers.inference_worker import InferenceWorker
from workers.polling import QueuePoller

logger = logging.getLogger(__name__)
# Long after any test: what frees the jobs of a killed worker is that its process has ended.
LEASE = {"INFERENCE_LEASE_SECONDS": "600"}


@pytest.fixture
def compiled(starter: Any) -> Any:
    """The version in service, compiled before: a worker that starts takes seconds to load it, as one that restarts."""
    load_version(starter, device="cpu")
    return starter


def jobs_by_state() -> Counter[str]:
    return Counter(InferenceJob.objects.using("dispatch").values_list("state", flat=True))


def poll(supervisor: Supervisor, condition: Callable[[], object], seconds: float, what: str) -> None:
    def looked() -> object:
        supervisor.check(give_up=False)
        return condition()

    wait_for(looked, seconds, what)


@contextmanager
def supervised(arguments: list[str], **environment: str) -> Iterator[Supervisor]:
    """A worker that is started again whenever it dies, and a dispatcher, as ``make demo`` has them."""
    supervisor = Supervisor(
        [
            Service("worker", arguments, ENVIRONMENT | os.environ | LEASE | environment),
            Service("dispatcher", command("dispatcher"), ENVIRONMENT | os.environ | LEASE),
        ]
    )
    supervisor.start()
    try:
        yield supervisor
    finally:
        supervisor.stop()


def kill_while_running(supervisor: Supervisor) -> float:
    """Kill the worker while it holds jobs; when that was."""
    poll(supervisor, lambda: jobs_by_state()[JobState.RUNNING], 180, "A claim")
    process = supervisor.services[0].process
    assert process is not None
    process.kill()
    return time.monotonic()


@pytest.mark.long
@pytest.mark.parametrize("kills", [1, 3])
def test_a_worker_that_is_killed_while_it_holds_30_images_loses_none(
    compiled: Any, north: Hospital, store_film: Callable[..., Any], kills: int
) -> None:
    accepted = [store_film(north, seed=seed, size=256).instance.sop_instance_uid for seed in range(30)]
    with supervised(command("worker")) as supervisor:
        for _ in range(kills):
            killed = kill_while_running(supervisor)
        poll(supervisor, lambda: jobs_by_state()[JobState.COMPLETE] == 30, 120, "Every result")
    seconds = time.monotonic() - killed
    logger.info("From the last kill to the last result: %.1f s", seconds)
    assert broken_invariants(north, accepted) == []
    with tenant_tx(north.tenant.id):
        assert max(InferenceJob.objects.values_list("attempts", flat=True)) <= kills
    assert seconds < 60, "Twenty seconds on a machine with nothing else to do."


@pytest.mark.long
def test_one_image_that_kills_its_worker_fails_and_its_29_batchmates_are_read(
    compiled: Any, north: Hospital, store_film: Callable[..., Any]
) -> None:
    stored = [store_film(north, seed=seed, size=256) for seed in range(30)]
    poison = stored[7]
    space = Manifest.from_dict(compiled.manifest).input_space.to_dict()
    tensor = load_input(Path(default_storage.path(poison.instance.object_key)), space).tensor_u8
    worker = [sys.executable, "-m", "tests.faults.poisoned_worker", *command("worker")[3:]]
    with supervised(worker, POISON=hashlib.sha256(tensor.tobytes()).hexdigest()) as supervisor:
        poll(supervisor, lambda: jobs_by_state() == {JobState.COMPLETE: 29, JobState.FAILED: 1}, 240, "An end for each")
    assert broken_invariants(north, [each.instance.sop_instance_uid for each in stored]) == []
    with tenant_tx(north.tenant.id):
        failed = InferenceJob.objects.get(state=JobState.FAILED)
        assert (failed.study_id, failed.reason_code, failed.attempts) == (poison.study.pk, "worker-lost", 3)
        assert set(InferenceJob.objects.filter(state=JobState.COMPLETE).values_list("attempts", flat=True)) == {1}


@pytest.mark.parametrize(
    ("seconds", "images"), [(3, 5), pytest.param(120, 20, marks=pytest.mark.long, id="two-minutes")]
)
def test_a_storage_that_is_away_delays_and_fails_nothing(
    starter: Any, north: Hospital, store_film: Callable[..., Any], settings: Any, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, seconds: float, images: int,
) -> None:  # fmt: skip
    monkeypatch.setattr("workers.outage._LONGEST_PAUSE", 2.0)
    with ObjectServer(tmp_path / "s3") as server, InferenceWorker(device="cpu") as worker:
        settings.STORAGES = settings.STORAGES | {"default": server.storage()}
        worker.run()
        accepted = [store_film(north, seed=seed, size=256).instance.sop_instance_uid for seed in range(images)]
        server.stop()
        with closing(QueuePoller(worker, quiet=0.5)) as watch:
            watch.start()
            wait_for(oldest_outage, 60, "A reason that is shown")
            time.sleep(seconds)
            assert oldest_outage() == (waiting_since(north), images), "Those that were never claimed say so too."
            with tenant_tx(north.tenant.id):
                assert set(InferenceJob.objects.values_list("state", "attempts")) == {(JobState.QUEUED, 0)}
                shown = set(listed_studies().values_list("status", "reason"))
                assert shown == {(JobState.QUEUED, waiting_since(north))}
            server.start()
            back = time.monotonic()
            wait_for(lambda: jobs_by_state() == {JobState.COMPLETE: images}, 60, "Every result")
            logger.info("From the storage's return to the last result: %.1f s", time.monotonic() - back)
        assert broken_invariants(north, accepted) == []
    with tenant_tx(north.tenant.id):
        assert set(InferenceJob.objects.values_list("attempts", "reason")) == {(1, "")}


def waiting_since(hospital: Hospital) -> str:
    with tenant_tx(hospital.tenant.id):
        since = InferenceJob.objects.order_by("waiting_since").first()
        assert since is not None
        return waiting_reason("storage-unavailable", since.waiting_since)


@pytest.mark.long
@pytest.mark.parametrize("fault", ["hangs", "is killed"])
def test_a_database_that_is_away_while_a_worker_holds_images_spends_no_attempt(
    compiled: Any, north: Hospital, store_film: Callable[..., Any], fault: str
) -> None:
    accepted = [store_film(north, seed=seed, size=256).instance.sop_instance_uid for seed in range(30)]
    with supervised(command("worker"), DATABASE_ANSWER_SECONDS="2", INFERENCE_BATCH_SIZE="8") as supervisor:
        poll(supervisor, lambda: jobs_by_state()[JobState.RUNNING], 180, "A claim")
        for connection in connections.all():
            connection.close()
        server = postgres.postmaster()
        assert server is not None
        if fault == "hangs":
            with hanging(server):
                time.sleep(15)
        else:
            server.kill()
            time.sleep(10)
            wait_for(postgres_is_back, 60, "The server's return")
        back = time.monotonic()
        poll(supervisor, lambda: jobs_by_state()[JobState.COMPLETE] == 30, 120, "Every result")
        logger.info("From the database's return to the last result: %.1f s", time.monotonic() - back)
    assert broken_invariants(north, accepted) == []
    with tenant_tx(north.tenant.id):
        assert set(InferenceJob.objects.values_list("attempts", "is_suspect")) == {(1, False)}


@pytest.mark.long
def test_a_dispatcher_says_that_no_worker_runs_and_takes_it_back(
    starter: Any, north: Hospital, store_film: Callable[..., Any], tmp_path: Path
) -> None:
    store_film(north, seed=1, size=256)
    with running("dispatcher", tmp_path / "dispatcher.log"):
        wait_for(oldest_outage, 60, "A reason that is shown")
        with tenant_tx(north.tenant.id):
            assert "no inference worker" in InferenceJob.objects.get().reason
        with running("worker", tmp_path / "worker.log"):
            wait_for(lambda: jobs_by_state()[JobState.COMPLETE], 90, "The result")

"""Several versions in one worker: pins, a tenant's operating points, damaged artifacts, rollbacks."""

import io
import json
import pickle
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command
from django.db import connections
from safetensors.numpy import load_file, save

from apps.api.readiness import Check, readiness, reset_cache
from apps.audit.services import Actor
from apps.core.work_queue import JobState
from apps.deployment.points import PointChoice
from apps.deployment.services import activate, retire, roll_back, set_points, unpin
from apps.inference.models import Finding, InferenceJob, Worker
from apps.inference.selectors import refusing_workers
from apps.registry.models import ModelVersion
from apps.tenants.scope import tenant_tx
from ml.model.artifact import WEIGHTS, file_sha256
from ml.model.manifest import MANIFEST
from tests.conftest import STARTER, Hospital
from tests.flows.processes import wait_for
from tests.workers.loading import change, held, of, registered, run_until_held, second, working
from workers.inference_worker import InferenceWorker
from workers.polling import QueuePoller

__all__ = ["second"]


def test_each_hospital_is_read_by_the_version_that_it_is_pinned_to(
    starter: Any, second: ModelVersion, north: Hospital, south: Hospital, store_film: Callable[..., Any]
) -> None:
    activate(version=second, tenant=north.tenant, by=Actor(name="test"))
    for hospital in (north, south):
        store_film(hospital, seed=1, size=256)
    with working() as worker:
        assert worker.run() == 2
        assert (of(north).model_version, of(south).model_version) == (second, starter)
        wait_for(lambda: set(held().values()) == {"serving"} and len(held()) == 2, 10, "Two versions in the row")

        unpin(tenant=north.tenant, by=Actor(name="test"))
        store_film(north, seed=5, size=256)
        assert worker.run() == 1
        assert of(north).model_version == starter
        wait_for(lambda: held().get(str(second)) == "kept for a rollback", 10, "The spare in the row")


def test_findings_are_judged_by_the_hospital_s_own_operating_points(
    starter: Any, north: Hospital, south: Hospital, store_film: Callable[..., Any], read_studies: Callable[[], int]
) -> None:
    set_points(
        version=starter, tenant=north.tenant, by=Actor(name="test"), recent={},
        choices={"Effusion": PointChoice("manual", value=1e-6, reason="Flag every film.")},
    )  # fmt: skip
    for hospital in (north, south):
        store_film(hospital, seed=1, size=256)
    read_studies()
    own, shared = (effusion(hospital) for hospital in (north, south))
    assert (own.threshold, own.positive) == (1e-6, True)
    assert shared.threshold == starter.thresholds["Effusion"]["value"]
    assert own.probability == shared.probability


def effusion(hospital: Hospital) -> Finding:
    with tenant_tx(hospital.tenant.id):
        return Finding.objects.get(label="Effusion")


def with_nan(folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    name = next(name for name, value in tensors.items() if value.dtype.kind == "f" and not name.startswith("gate"))
    tensors[name] = np.full_like(tensors[name], np.nan)
    (folder / WEIGHTS).write_bytes(save(tensors))
    change(folder, weights_sha256=file_sha256(folder / WEIGHTS))


def with_other_labels(folder: Path) -> None:
    change(folder, labels=list(reversed(json.loads((folder / MANIFEST).read_text())["labels"])))


def store_instead(version: ModelVersion, folder: Path) -> None:
    """Replace the stored files of a version."""
    for name in (MANIFEST, WEIGHTS):
        default_storage.delete(f"{version.object_prefix}/{name}")
        default_storage.save(f"{version.object_prefix}/{name}", ContentFile((folder / name).read_bytes()))


def with_a_flipped_bit(folder: Path) -> None:
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / WEIGHTS).write_bytes(content)


def cut_short(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-1000])


def with_a_pickle(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes(pickle.dumps(print))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (with_nan, "weights-not-finite"),
        (with_other_labels, "labels-mismatch"),
        (with_a_flipped_bit, "weights-hash-mismatch"),
        (cut_short, "weights-hash-mismatch"),
        (with_a_pickle, "weights-hash-mismatch"),
        (lambda _: None, "identity-mismatch"),
    ],
)
def test_a_bad_version_is_refused_with_its_reason_and_the_old_one_goes_on(
    starter: Any, north: Hospital, south: Hospital, store_film: Callable[..., Any], tmp_path: Path,
    damage: Callable[[Path], None], reason: str,
) -> None:  # fmt: skip
    bad = registered(tmp_path / "registered", reason)
    folder = shutil.copytree(STARTER, tmp_path / "bad", copy_function=shutil.copyfile)
    damage(folder)
    store_instead(bad, folder)
    with working() as worker:
        activate(version=bad, tenant=north.tenant, by=Actor(name="test"))
        wait_for(lambda: worker.run() or Worker.objects.filter(error__contains=reason).exists(), 30, "The refusal")
        for hospital in (north, south):
            store_film(hospital, seed=1, size=256)
        assert worker.run() == 2
        assert (of(north).model_version, of(south).model_version) == (starter, starter)
        assert held() == {str(starter): "serving", str(bad): "refused"}
    # A worker that starts now goes on with what the ledger names before it.
    for hospital in (north, south):
        store_film(hospital, seed=2, size=256)
    with working() as worker:
        assert worker.run() == 2
        assert (of(north).model_version, of(south).model_version) == (starter, starter)
        assert held() == {str(starter): "serving", str(bad): "refused"}


def test_a_worker_that_starts_on_a_bad_version_of_the_platform_reads_with_the_one_before(
    starter: Any, second: ModelVersion, north: Hospital, store_film: Callable[..., Any], tmp_path: Path
) -> None:
    bad = registered(tmp_path / "bad", "Bad.")
    cut_short(tmp_path / "bad")
    store_instead(bad, tmp_path / "bad")
    for version in (second, starter, bad):
        activate(version=version, by=Actor(name="test"))
        if version == starter:
            roll_back(by=Actor(name="test"))
    store_film(north, seed=1, size=256)
    with working() as worker:
        assert worker.run() == 1
        assert of(north).model_version == second, "What was rolled back is no way back."
        assert held()[str(bad)] == "refused"
    store_film(north, seed=2, size=256)
    retire(version=starter, by=Actor(name="test"))
    roll_back(by=Actor(name="test"))
    with working() as worker:
        assert worker.run() == 1
        assert held() == {str(second): "serving"}


def test_a_worker_goes_on_with_no_version_that_was_retired(
    starter: Any, north: Hospital, store_film: Callable[..., Any], tmp_path: Path
) -> None:
    bad = registered(tmp_path / "bad", "Bad.")
    cut_short(tmp_path / "bad")
    store_instead(bad, tmp_path / "bad")
    with working() as worker:
        activate(version=bad, by=Actor(name="test"))
        run_until_held(worker, bad, "refused")
        retire(version=starter, by=Actor(name="test"))
        store_film(north, seed=1, size=256)
        assert worker.run() == 0
        assert of(north).state == JobState.QUEUED


def test_switches_under_load_fail_no_job_and_each_result_names_one_version(
    starter: Any, second: ModelVersion, north: Hospital, store_film: Callable[..., Any], tmp_path: Path
) -> None:
    third = registered(tmp_path / "third", "The third.")
    bad = registered(tmp_path / "bad", "Bad.")
    cut_short(tmp_path / "bad")
    store_instead(bad, tmp_path / "bad")
    finished = threading.Event()
    sent: list[int] = []

    def one_more() -> None:
        before = len(sent)
        wait_for(lambda: len(sent) > before, 20, "A film that is read before the next switch")

    def switch() -> None:
        try:
            for version, state in ((second, "serving"), (third, "serving"), (bad, "refused")) * 2:
                activate(version=version, by=Actor(name="test"))
                wait_for(lambda: held().get(str(version)) == state, 20, state)  # noqa: B023 (waited for here)
                one_more()
                roll_back(by=Actor(name="test"))
                one_more()
        finally:
            connections.close_all()
            finished.set()

    with working() as worker:
        switcher = threading.Thread(target=switch)
        switcher.start()
        while not finished.is_set():
            store_film(north, seed=len(sent), size=256)
            worker.run()
            sent.append(1)
        switcher.join()
    with tenant_tx(north.tenant.id):
        ended = list(InferenceJob.objects.values_list("state", "attempts", "model_version_id"))
    assert len(ended) == len(sent) >= 12
    assert {(state, attempt) for state, attempt, _ in ended} == {(JobState.COMPLETE, 1)}
    read_by = {version for _, _, version in ended}
    assert read_by == {starter.pk, second.pk, third.pk}


def test_a_rollback_swaps_back_at_once(
    starter: Any, second: ModelVersion, north: Hospital, store_film: Callable[..., Any]
) -> None:
    with working() as worker:
        activate(version=second, by=Actor(name="test"))
        run_until_held(worker, second, "serving", 90)
        roll_back(by=Actor(name="test"))
        store_film(north, seed=1, size=256)
        assert worker.run() == 1
        assert of(north).model_version == starter


def test_the_command_says_how_far_the_workers_are(
    starter: Any, second: ModelVersion, north: Hospital, tmp_path: Path
) -> None:
    assert activate_model("starter:2") == "No worker runs now: each loads it when it starts."
    activate_model("--rollback")
    bad = registered(tmp_path / "bad", "Bad.")
    cut_short(tmp_path / "bad")
    store_instead(bad, tmp_path / "bad")
    with working() as worker, looking(worker):
        assert activate_model("starter:2") == "1 of 1 worker serves it."
        with pytest.raises(CommandError, match=r"weights-hash-mismatch.*--rollback --tenant north"):
            activate_model(str(bad), "--tenant", "north")
        assert "cannot load a version that they need: 1." in readiness().checks["worker"].detail
        assert activate_model("--rollback", "--tenant", "north") == "1 of 1 worker serves it."
        wait_for(lambda: not refusing_workers(), 10, "The refusal is forgotten")
        reset_cache()
        assert readiness().checks["worker"] == Check(True)


def activate_model(*arguments: str) -> str:
    out = io.StringIO()
    call_command("activate_model", *arguments, wait=60, stdout=out)
    return out.getvalue().splitlines()[-1]


@contextmanager
def looking(worker: InferenceWorker) -> Iterator[None]:
    """Poll for jobs as a worker does, only more often."""
    watch = QueuePoller(worker, quiet=0.2)
    watch.start()
    try:
        yield
    finally:
        watch.close()

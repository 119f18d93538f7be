"""The jobs worker evaluates versions in a child process; a set that cannot be read is a result, a crash is not."""

import threading
import time
from pathlib import Path

import psutil
import pytest
from django.db import connection

from apps.core.work_queue import JobState
from apps.evaluation.models import Evaluation, EvaluationJob, EvaluationSet
from apps.evaluation.services import EVALUATIONS, create_evaluation_set
from apps.registry.models import ModelVersion
from apps.registry.services import register
from tests.evaluation import synthetic
from tests.evaluation.films import write_layout
from tests.flows.processes import running, start, wait_for
from tests.ml import tiny
from workers.evaluating import evaluate_waiting


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_layout(tmp_path_factory.mktemp("films"), patients=40, test=24)


def registered(tmp_path: Path, seed: int = 0) -> ModelVersion:
    """Another seed is another network, whose first evaluation takes seconds: its graph is exported first."""
    return register(artifact_dir=tiny.artifact(tmp_path / "tiny", seed))


def states() -> dict[str, str]:
    return {str(job.evaluation_set): job.state for job in EvaluationJob.objects.all()}


def test_a_registered_version_is_measured_on_every_active_set(db: None, films: Path, tmp_path: Path) -> None:
    create_evaluation_set(name="public", folder=str(films))
    synthetic.a_set("gone")
    EvaluationSet.objects.create(name="aside", folder="/x", split="", is_active=False, films=1, patients=1)
    version = registered(tmp_path)
    assert states() == {"public": JobState.QUEUED, "gone": JobState.QUEUED}
    assert EVALUATIONS.due().exists()

    evaluate_waiting(worker="test", stopping=threading.Event())
    assert states() == {"public": JobState.COMPLETE, "gone": JobState.REJECTED}
    kept = Evaluation.objects.get()
    assert (str(kept.evaluation_set), kept.n, kept.patients, kept.model_version) == ("public", 48, 24, version)
    assert kept.report["model"]["name"] == "tiny:1"
    assert "/films/gone" in EvaluationJob.objects.get(state=JobState.REJECTED).reason
    assert not EVALUATIONS.due().exists()
    # The same artifact is the same version, and needs no evaluation.
    assert registered(tmp_path / "again") == version
    assert EvaluationJob.objects.count() == 2


@pytest.mark.long
def test_a_killed_worker_takes_its_child_along_and_another_one_begins_again(
    db: None, films: Path, tmp_path: Path
) -> None:
    create_evaluation_set(name="public", folder=str(films))
    registered(tmp_path, seed=1)
    quick = {"JOB_LEASE_SECONDS": "4"}
    worker = start("jobs", tmp_path / "log", **quick)
    with running("dispatcher", tmp_path / "dispatcher.log", **quick):
        wait_for(lambda: states() == {"public": JobState.RUNNING}, 60, "A first claim")
        (child,) = [each for each in psutil.Process(worker.pid).children() if "ml.evaluation" in each.cmdline()]
        worker.kill()
        worker.wait()
        wait_for(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, 10, "The child's end")
        assert not Evaluation.objects.exists()
        with running("jobs", tmp_path / "log", **quick):
            wait_for(lambda: states() == {"public": JobState.COMPLETE}, 90, "The second attempt's figures")
    assert EvaluationJob.objects.get().attempts == 2
    assert Evaluation.objects.count() == 1


def test_a_worker_that_stops_gives_the_job_back(db: None, films: Path, tmp_path: Path) -> None:
    create_evaluation_set(name="public", folder=str(films))
    registered(tmp_path, seed=2)
    stopping = threading.Event()

    def stop_while_it_runs() -> None:
        while not EvaluationJob.objects.filter(state=JobState.RUNNING).exists():
            time.sleep(0.01)
        stopping.set()
        connection.close()

    stopper = threading.Thread(target=stop_while_it_runs)
    stopper.start()
    evaluate_waiting(worker="test", stopping=stopping)
    stopper.join()
    found = EvaluationJob.objects.get()
    assert (found.state, found.attempts) == (JobState.QUEUED, 0)

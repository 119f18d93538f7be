"""The jobs worker evaluates versions in a child process; a set that cannot be read is a result, a crash is not."""

import threading
import time
from pathlib import Path

import psutil
import pytest
from django.db import connection

from apps.evaluation.models import Evaluation, EvaluationJob, EvaluationSet
from apps.evaluation.services import EVALUATIONS, complete_evaluation, create_evaluation_set
from apps.registry.models import ModelVersion
from apps.registry.services import register
from tests.evaluation import synthetic
from tests.evaluation.films import write_layout
from tests.flows.processes import running, start, wait_for
from tests.ml import tiny
from workers.evaluating import evaluate_waiting

State = EvaluationJob.State


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
    assert states() == {"public": State.WAITING, "gone": State.WAITING}
    assert EVALUATIONS.waits()

    evaluate_waiting(worker="test", stopping=threading.Event())
    assert states() == {"public": State.COMPLETE, "gone": State.REFUSED}
    kept = Evaluation.objects.get()
    assert (str(kept.evaluation_set), kept.n, kept.patients, kept.model_version) == ("public", 48, 24, version)
    assert kept.report["model"]["name"] == "tiny:1"
    assert "/films/gone" in EvaluationJob.objects.get(state=State.REFUSED).reason
    assert not EVALUATIONS.waits()
    # The same artifact is the same version, and needs no evaluation.
    assert registered(tmp_path / "again") == version
    assert EvaluationJob.objects.count() == 2


def test_a_killed_worker_takes_its_child_along_and_another_one_begins_again(
    db: None, films: Path, tmp_path: Path
) -> None:
    create_evaluation_set(name="public", folder=str(films))
    registered(tmp_path, seed=1)
    quick = {"JOB_LEASE_SECONDS": "4"}
    worker = start("jobs", tmp_path / "log", **quick)
    with running("dispatcher", tmp_path / "dispatcher.log", **quick):
        wait_for(lambda: states() == {"public": State.RUNNING}, 60, "A first claim")
        (child,) = [each for each in psutil.Process(worker.pid).children() if "ml.evaluation" in each.cmdline()]
        worker.kill()
        worker.wait()
        wait_for(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, 10, "The child's end")
        assert not Evaluation.objects.exists()
        with running("jobs", tmp_path / "log", **quick):
            wait_for(lambda: states() == {"public": State.COMPLETE}, 90, "The second attempt's figures")
    assert EvaluationJob.objects.get().attempts == 2
    assert Evaluation.objects.count() == 1


@pytest.fixture
def job(db: None, tmp_path: Path) -> EvaluationJob:
    synthetic.a_set()
    registered(tmp_path)
    claimed = EVALUATIONS.claim(worker="first")
    assert claimed is not None
    return claimed


def test_three_attempts_and_then_the_reason(job: EvaluationJob) -> None:
    for attempt in (1, 2, 3):
        assert job.attempts == attempt
        EVALUATIONS.fail(job=job, reason="The disk is full.")
        assert EVALUATIONS.claim(worker="too early") is None
        EvaluationJob.objects.update(not_before=job.created)
        job = EVALUATIONS.claim(worker="test") or job
    job.refresh_from_db()
    assert (job.state, job.reason, job.attempts) == (State.FAILED, "The disk is full.", 3)


def test_a_worker_that_lost_its_lease_writes_nothing(job: EvaluationJob) -> None:
    EvaluationJob.objects.update(lease_expires=job.created)
    second = EVALUATIONS.claim(worker="second")
    assert second is not None
    assert not EVALUATIONS.extend(job=job)
    assert complete_evaluation(job=job, report=synthetic.report(1.0)) is None
    EVALUATIONS.fail(job=job, reason="Late.")
    assert complete_evaluation(job=second, report=synthetic.report(1.0)) is not None
    assert states() == {"public": State.COMPLETE}
    assert Evaluation.objects.count() == 1


def test_a_version_that_kills_every_worker_is_given_up(job: EvaluationJob) -> None:
    for _ in range(2):
        EvaluationJob.objects.update(lease_expires=job.created)
        assert EVALUATIONS.claim(worker="next") is not None
    EvaluationJob.objects.update(lease_expires=job.created)
    assert EVALUATIONS.claim(worker="next") is None
    job.refresh_from_db()
    assert job.state == State.FAILED
    assert "died 3 times" in job.reason


def test_a_worker_that_stops_gives_the_job_back(db: None, films: Path, tmp_path: Path) -> None:
    create_evaluation_set(name="public", folder=str(films))
    registered(tmp_path, seed=2)
    stopping = threading.Event()

    def stop_while_it_runs() -> None:
        while not EvaluationJob.objects.filter(state=State.RUNNING).exists():
            time.sleep(0.01)
        stopping.set()
        connection.close()

    stopper = threading.Thread(target=stop_while_it_runs)
    stopper.start()
    evaluate_waiting(worker="test", stopping=stopping)
    stopper.join()
    found = EvaluationJob.objects.get()
    assert (found.state, found.attempts) == (State.WAITING, 0)

"""Versions on the operator's evaluation sets: claim, measure in a child process, keep the figures; until none waits."""

import contextlib
import json
import logging
import os
import signal
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import Any

import psutil
from django.conf import settings
from django.db import DatabaseError, close_old_connections

from apps.registry import engine
from apps.registry import services as registry
from apps.registry.models import EvaluationJob

logger = logging.getLogger(__name__)
_LOOK_SECONDS = 0.5
# Films of patients come first on a machine that reads both.
_NICE = 10
_LAST_WORDS = 4000


class _Stopped(Exception):
    """The worker stops, or the job is another worker's by now."""


def measure_waiting(*, worker: str, stopping: threading.Event) -> None:
    while not stopping.is_set():
        close_old_connections()
        job = registry.claim_evaluation(worker=worker)
        if job is None:
            return
        logger.info("Measuring %s, attempt %d.", job, job.attempts)
        _measure(job, stopping)


def _measure(job: EvaluationJob, stopping: threading.Event) -> None:
    try:
        with tempfile.TemporaryDirectory(prefix="evaluation-") as folder:
            status, words = _in_child(job, Path(folder), stopping)
            if status == 0:
                report: dict[str, Any] = json.loads((Path(folder) / "report.json").read_bytes())
                registry.complete_evaluation(job=job, report=report)
            elif status == engine.EVALUATION_REFUSED:
                registry.refuse_evaluation(job=job, reason=words)
            else:
                registry.fail_evaluation(job=job, reason=words or f"The evaluation ended with status {status}.")
    except _Stopped:
        registry.give_back_evaluation(job=job)
    except DatabaseError:
        raise
    # Whatever the object storage's client raises: another attempt follows, and the reason is shown.
    except Exception as error:
        logger.exception("The evaluation of %s failed.", job.pk)
        registry.fail_evaluation(job=job, reason=f"{type(error).__name__}: {error}")


def _in_child(job: EvaluationJob, folder: Path, stopping: threading.Event) -> tuple[int, str]:
    """Exit status and last words of the evaluation; the lease is kept while it runs."""
    films = job.evaluation_set
    with (folder / "said").open("w+b") as said:
        child = engine.start_evaluation(
            registry.fetch_artifact(job.model_version),
            Path(films.folder),
            Path(films.split) if films.split else None,
            folder / "report.json",
            settings.CHECXRAY_HOME / "evaluation",
            settings.INFERENCE_DEVICE,
            said,
        )
        try:
            with contextlib.suppress(psutil.Error):
                psutil.Process(child.pid).nice(_NICE)
            _wait(job, child, stopping)
        finally:
            _end(child)
        return child.returncode, _last_words(folder / "said")


def _wait(job: EvaluationJob, child: "subprocess.Popen[bytes]", stopping: threading.Event) -> None:
    looks = max(1, round(settings.EVALUATION_LEASE_SECONDS / 4 / _LOOK_SECONDS))
    for look in range(1, 1_000_000_000):
        try:
            child.wait(_LOOK_SECONDS)
            return
        except subprocess.TimeoutExpired:
            if stopping.is_set() or (look % looks == 0 and not _keeps(job)):
                raise _Stopped from None


def _keeps(job: EvaluationJob) -> bool:
    try:
        close_old_connections()
        return registry.extend_lease(job=job)
    except DatabaseError as error:
        # The figures may still find the database back; if the lease is lost by then, they are not written.
        logger.warning("The lease of %s was not extended (%s).", job.pk, type(error).__name__)
        return True


def _end(child: "subprocess.Popen[bytes]") -> None:
    """Whatever the child started goes with it."""
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    if child.stdin:
        child.stdin.close()


def _last_words(path: Path) -> str:
    """The reason, without the progress bars before it."""
    text = path.read_bytes()[-_LAST_WORDS:].decode(errors="replace").replace("\r", "\n")
    lines = [line for line in text.splitlines() if line.strip()]
    told = [line.partition("Evaluation stopped: ")[2] for line in lines if "Evaluation stopped: " in line]
    return (told or lines or [""])[-1]

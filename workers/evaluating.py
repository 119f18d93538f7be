"""Evaluates versions on the operator's evaluation sets, each in a child process."""

import json
import tempfile
import threading
from pathlib import Path
from typing import Any

from django.conf import settings

from apps.evaluation import services
from apps.evaluation.models import EvaluationJob
from apps.registry import engine
from apps.registry.services import fetch_artifact
from workers.children import WaitForChild, process_jobs

_LAST_BYTES = 4000


def evaluate_waiting(*, worker: str, stopping: threading.Event) -> None:
    process_jobs(services.EVALUATIONS, _measure, worker=worker, stopping=stopping)


def _measure(job: EvaluationJob, wait_for_child: WaitForChild) -> None:
    with tempfile.TemporaryDirectory(prefix="evaluation-") as folder:
        status, reason = _in_child(job, Path(folder), wait_for_child)
        if status == 0:
            report: dict[str, Any] = json.loads((Path(folder) / "report.json").read_bytes())
            services.complete_evaluation(job=job, report=report)
        elif status == engine.EVALUATION_REFUSED:
            services.EVALUATIONS.reject(job=job, reason=reason)
        else:
            services.EVALUATIONS.fail(job=job, reason=reason or f"The evaluation ended with status {status}.")


def _in_child(job: EvaluationJob, folder: Path, wait_for_child: WaitForChild) -> tuple[int, str]:
    """Run an evaluation in a child process; return its exit status and its error message."""
    chosen = job.evaluation_set
    with (folder / "output").open("w+b") as output:
        child = engine.start_evaluation(
            fetch_artifact(job.model_version),
            Path(chosen.folder),
            Path(chosen.split) if chosen.split else None,
            folder / "report.json",
            settings.CHECXRAY_HOME / "evaluation",
            settings.INFERENCE_DEVICE,
            output,
        )
        return wait_for_child(child), _last_error(folder / "output")


def _last_error(path: Path) -> str:
    """The reason, without the progress bars before it."""
    text = path.read_bytes()[-_LAST_BYTES:].decode(errors="replace").replace("\r", "\n")
    lines = [line for line in text.splitlines() if line.strip()]
    reasons = [line.partition("Evaluation stopped: ")[2] for line in lines if "Evaluation stopped: " in line]
    return (reasons or lines or [""])[-1]

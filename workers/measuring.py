"""Versions on the operator's evaluation sets, each measured in a child process."""

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
from workers.children import Attend, work_off

_LAST_WORDS = 4000


def measure_waiting(*, worker: str, stopping: threading.Event) -> None:
    work_off(services.EVALUATIONS, _measure, worker=worker, stopping=stopping)


def _measure(job: EvaluationJob, attend: Attend) -> None:
    with tempfile.TemporaryDirectory(prefix="evaluation-") as folder:
        status, words = _in_child(job, Path(folder), attend)
        if status == 0:
            report: dict[str, Any] = json.loads((Path(folder) / "report.json").read_bytes())
            services.complete_evaluation(job=job, report=report)
        elif status == engine.EVALUATION_REFUSED:
            services.EVALUATIONS.refuse(job=job, reason=words)
        else:
            services.EVALUATIONS.fail(job=job, reason=words or f"The evaluation ended with status {status}.")


def _in_child(job: EvaluationJob, folder: Path, attend: Attend) -> tuple[int, str]:
    """Exit status and last words of the evaluation."""
    films = job.evaluation_set
    with (folder / "said").open("w+b") as said:
        child = engine.start_evaluation(
            fetch_artifact(job.model_version),
            Path(films.folder),
            Path(films.split) if films.split else None,
            folder / "report.json",
            settings.CHECXRAY_HOME / "evaluation",
            settings.INFERENCE_DEVICE,
            said,
        )
        return attend(child), _last_words(folder / "said")


def _last_words(path: Path) -> str:
    """The reason, without the progress bars before it."""
    text = path.read_bytes()[-_LAST_WORDS:].decode(errors="replace").replace("\r", "\n")
    lines = [line for line in text.splitlines() if line.strip()]
    told = [line.partition("Evaluation stopped: ")[2] for line in lines if "Evaluation stopped: " in line]
    return (told or lines or [""])[-1]

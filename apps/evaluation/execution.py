"""Running an evaluation of registered versions on films, and its PDF."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings
from django.template.loader import render_to_string

from apps.audit.services import Actor
from apps.core.documents import require_pdf, stylesheet, to_pdf
from apps.core.errors import InvalidInputError, UnavailableError
from apps.evaluation.models import Evaluation
from apps.evaluation.sections import evaluation_sections
from apps.evaluation.services import store_evaluation
from apps.registry import engine
from apps.registry.models import ModelVersion
from apps.registry.services import fetch_artifact


def run_evaluation(*, version: ModelVersion, data: Path, split: Path | None, by: Actor) -> Evaluation:
    """Evaluate a version on a list of films, read as a worker reads them, and store the result.

    Args:
        data: a folder in a layout of docs/data.md.
        split: a file of film names; None takes the folder's test_list.txt.

    Raises:
        InvalidInputError: the films cannot be used, or the version was trained on them; the detail says what to do.
        UnavailableError: the version cannot be loaded on this machine.
    """
    with _as_service_errors():
        report = engine.evaluate_version(fetch_artifact(version), data, split, _cache(), _device())
    return store_evaluation(version=version, report=report, data=data, split=split, by=by)


def run_comparison(*, versions: Sequence[ModelVersion], data: Path, split: Path | None) -> dict[str, Any]:
    """Compare several versions on the same films; differences are from the first one.

    Raises:
        InvalidInputError, UnavailableError: as `run_evaluation`.
    """
    with _as_service_errors():
        found = engine.compare_versions([fetch_artifact(each) for each in versions], data, split, _cache(), _device())
    for row, version in zip(found["rows"], versions, strict=True):
        row["model"]["name"] = str(version)
    return found


@contextmanager
def _as_service_errors() -> Iterator[None]:
    try:
        yield
    except (engine.ArtifactInvalid, engine.PredictorUnavailable, OSError) as error:
        raise UnavailableError(f"The version cannot be loaded: {error}", "version-unusable") from error
    except (engine.DatasetInvalid, engine.InputRejected, FloatingPointError, ValueError) as error:
        raise InvalidInputError(str(error), "evaluation-refused") from error


def _cache() -> Path:
    return settings.CHECXRAY_HOME / "evaluation"


def _device() -> Any:
    return settings.INFERENCE_DEVICE


def evaluation_json(evaluation: Evaluation) -> dict[str, Any]:
    """The evaluation as `evaluate_model --json` writes it, with the main figures of each label at hand."""
    report = evaluation.report
    names = ("threshold", "sensitivity", "specificity")
    labels = {
        label: {**entry, **{name: (entry["operating_point"] or {}).get(name) for name in names}}
        for label, entry in report["labels"].items()
    }
    return {"model_version": str(evaluation.model_version), **report, "labels": labels}


def render_evaluation_pdf(*, evaluation: Evaluation) -> bytes:
    """Render the evaluation's page as a tagged PDF/A file.

    Raises:
        UnavailableError: this machine has no Pango or no fonts; the detail has the install line.
    """
    require_pdf()
    html = render_to_string(
        "evaluation/evaluation.html",
        {
            "evaluation": evaluation,
            "sections": evaluation_sections(evaluation),
            "as_document": True,
            "intended_use_notice": settings.INTENDED_USE_NOTICE,
        },
    )
    return to_pdf(html, stylesheet("documents/document.css"), stylesheet("evaluation/evaluation.css"))

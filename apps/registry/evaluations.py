"""Measuring a registered version on films, and the document of what was found."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.template.loader import render_to_string

from apps.core.documents import require_pdf, stylesheet, to_pdf
from apps.core.errors import InvalidInputError, UnavailableError
from apps.registry import engine
from apps.registry.measured import sections
from apps.registry.models import Evaluation, ModelVersion
from apps.registry.services import fetch_artifact


def evaluate(*, version: ModelVersion, data: Path, split: Path | None, actor: str) -> Evaluation:
    """Read the list's films with the version as a worker would, and keep what was found.

    Raises:
        InvalidInputError: the films cannot be used, or the version has seen them; the detail says what to do.
        UnavailableError: the version cannot be loaded on this machine.
    """
    try:
        report = engine.evaluate_version(
            fetch_artifact(version),
            data,
            split,
            settings.CHECXRAY_HOME / "evaluation",
            settings.INFERENCE_DEVICE,  # type: ignore[arg-type]
        )
    except (engine.DatasetInvalid, engine.EvaluationRefused, engine.InputRejected) as error:
        raise InvalidInputError(str(error), "evaluation-refused") from error
    except (engine.ArtifactInvalid, engine.PredictorUnavailable) as error:
        raise UnavailableError(f"{version} cannot be loaded: {error}", "version-unusable") from error
    return Evaluation.objects.create(
        model_version=version,
        split_id=report["split"]["id"],
        split_sha256=report["split"]["sha256"],
        n=report["n"],
        patients=report["patients"],
        mean_auroc=report["mean_auroc"],
        report=report,
        actor=actor,
    )


def contract_json(evaluation: Evaluation) -> dict[str, Any]:
    """The evaluation as `evaluate_model --json` writes it."""
    return {"model_version": str(evaluation.model_version), **evaluation.report}


def render_evaluation_pdf(*, evaluation: Evaluation) -> bytes:
    """The evaluation's page as a tagged PDF/A file.

    Raises:
        UnavailableError: this machine lacks Pango or fonts; the detail has the install line.
    """
    require_pdf()
    html = render_to_string(
        "registry/evaluation.html",
        {
            "evaluation": evaluation,
            "sections": sections(evaluation),
            "as_document": True,
            "intended_use_notice": settings.INTENDED_USE_NOTICE,
        },
    )
    return to_pdf(html, stylesheet("reports/report.css"), stylesheet("registry/evaluation.css"))

"""The statements of a model card, in the fields of the CHAI Applied Model Card; a missing one names who must add it."""

from django.conf import settings

from apps.deployment.change_plan import current_plan
from apps.evaluation.models import Evaluation
from apps.evaluation.sections import Section
from apps.registry import engine
from apps.registry.models import ModelVersion


def _ask_operator(setting: str) -> str:
    return f"Not stated: the operator of this platform must set {setting}."


def _ask_trainer(field: str) -> str:
    return f'Not stated: the person who trains the next version must give "{field}" in the data of its manifest.'


def statements(version: ModelVersion, evaluations: list[Evaluation]) -> list[Section]:
    """The sections Developer, Uses and directions, Warnings, and Trust ingredients."""
    return [
        _section("Developer", _developer()),
        _section("Uses and directions", _uses(version)),
        _section("Warnings", _warnings(version, evaluations)),
        _section("Trust ingredients", _trust(version)),
    ]


def _section(title: str, rows: dict[str, str]) -> Section:
    return Section(title, table=engine.Table(title, ("Field", "Value"), tuple(rows.items())))


def _developer() -> dict[str, str]:
    return {
        "Developer": settings.MANUFACTURER_NAME or _ask_operator("MANUFACTURER_NAME"),
        "Inquiries or to report an issue": settings.MANUFACTURER_CONTACT or _ask_operator("MANUFACTURER_CONTACT"),
        "Regulatory approval": settings.REGULATORY_APPROVAL or f"None stated. {settings.INTENDED_USE_NOTICE}",
    }


def _uses(version: ModelVersion) -> dict[str, str]:
    return {
        "Intended use and workflow": (
            f"{settings.INTENDED_USE_NOTICE} It gives each finding on a frontal chest radiograph a probability and a "
            "map; a radiologist agrees or disagrees and signs. It decides nothing by itself."
        ),
        "Primary intended users": "Radiologists, and physicians who read chest radiographs.",
        "Targeted patient population": (
            "People like those whose films it was made from and measured on (Data; the subgroups by sex, age and view "
            "below). Others were not studied."
        ),
        "Outputs": (
            f"{'Calibrated' if version.is_calibrated else 'Uncalibrated'} probabilities of "
            f"{', '.join(version.manifest['labels'])}{_maps(version)}"
        ),
        "Cautioned out-of-scope settings": (
            "Lateral films, other body parts and other modalities, which the input check refuses if recognised; "
            "findings that are not listed; ruling a disease out; use without a radiologist."
        ),
    }


def _maps(version: ModelVersion) -> str:
    if not _has_maps(version):
        return ". There are no maps: the network's own pooling leaves no exact one."
    validated = ", ".join(version.localised) or "none of them"
    return f", and a map for each. A map is validated as a location of the finding for: {validated}."


def _model_type(version: ModelVersion) -> str:
    stages = version.manifest.get("stages")
    of = f" of the stages {', '.join(stages)}" if stages else ""
    pooling = "average pooling" if _has_maps(version) else "the network's own pooling"
    return f"Neural network ({version.architecture}), {pooling}{of}, one linear layer."


def _has_maps(version: ModelVersion) -> bool:
    """A map of one cell shows no place."""
    return list(version.manifest["grid"]) != [1, 1]


def _warnings(version: ModelVersion, evaluations: list[Evaluation]) -> dict[str, str]:
    none = [label for label in version.manifest["labels"] if version.thresholds[label] is None]
    risks = [
        "A finding below its operating point is not excluded, and a map is not the outline of a lesion.",
        "Probabilities follow the share of disease among the films it was calibrated on; elsewhere they may differ."
        if version.is_calibrated
        else "Probabilities are the network's own: they are not calibrated.",
    ]
    if none:
        risks.append(f"Without an operating point, so never flagged: {', '.join(none)}.")
    return {
        "Known risks and limitations": " ".join(risks),
        "Known biases": (
            "Figures by sex, age and view stand below; where an interval is wide, little is known."
            if evaluations
            else "Not known: subgroups were not evaluated here."
        ),
        "Clinical risk level": (
            "As in the regulatory approval above."
            if settings.REGULATORY_APPROVAL
            else "Not classified: it is investigational. The operator states a class with REGULATORY_APPROVAL."
        ),
    }


def _trust(version: ModelVersion) -> dict[str, str]:
    data = version.data
    return {
        "Model type": _model_type(version),
        "Input data": "One frontal chest radiograph; nothing else of the patient.",
        "Development data": str(data.get("source") or _ask_trainer("source")),
        "Licence of the weights": str(data.get("licence") or _ask_trainer("licence")),
        "Bias mitigation": str(
            data.get("bias_mitigation")
            or "None in the training that its manifest records. Each evaluation gives figures by sex, age and view, "
            "and each hospital may choose its own operating points and recalibrate the probabilities to its patients."
        ),
        "Ongoing maintenance": settings.MODEL_MAINTENANCE
        or f"{current_plan()}: an evaluation and release gates before each activation, figures of drift every week, "
        "and rollback.",
        "Security": (
            "Weights are safetensors, known by their SHA-256, which each worker checks with a golden image before it "
            "serves; every activation of a version is an entry of an append-only ledger."
        ),
    }

"""The sections of a version's model card, in the fields of the CHAI model card; the page and the PDF show the same."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.conf import settings
from django.template.loader import render_to_string

from apps.core.documents import require_pdf, stylesheet, to_pdf
from apps.deployment.alarms import alarm_figures
from apps.deployment.card.statements import statements
from apps.deployment.models import Activation
from apps.deployment.release_gates import release_gates_of
from apps.deployment.selectors import version_state, with_state
from apps.evaluation.models import Evaluation
from apps.evaluation.sections import Section, evaluation_sections
from apps.registry import engine
from apps.registry.models import ModelVersion
from apps.training.curves import training_curves

_MOST_ENTRIES = 20


def card_sections(version: ModelVersion) -> list[Section]:
    """The card's sections: release, use, warnings, data, operating points, evaluations, training, deployments."""
    evaluations = _evaluations(version)
    return [
        Section("Release", table=_release(version)),
        *statements(version, evaluations),
        Section("Data", table=_data(version)),
        Section("Operating points of the version", table=_points(version)),
        *_measured(version, evaluations),
        *_gates(version),
        *_training(version),
        _served(version),
        Section("The card that came with it", verbatim=version.manifest["card"]),
    ]


def _evaluations(version: ModelVersion) -> list[Evaluation]:
    """The latest evaluation on each list of films, newest first."""
    latest: dict[tuple[object, str], Evaluation] = {}
    for each in Evaluation.objects.filter(model_version=version).select_related("evaluation_set"):
        latest.setdefault((each.evaluation_set_id, each.split_sha256), each)
    return list(latest.values())


def _measured(version: ModelVersion, evaluations: list[Evaluation]) -> list[Section]:
    if not evaluations:
        return [Section("Measured", [f"Not evaluated here yet: manage.py evaluate_model --version {version}."])]
    found: list[Section] = []
    for each in evaluations:
        name = each.evaluation_set or each.split_id
        found += [Section(f"Measured on {name}", [_films(each)]), *evaluation_sections(each)]
    return found


def render_card_pdf(*, version: ModelVersion) -> bytes:
    """The card as a tagged PDF/A file.

    Raises:
        UnavailableError: this machine lacks Pango or fonts; the detail has the install line.
    """
    require_pdf()
    html = render_to_string(
        "deployment/card.html",
        {
            "version": version,
            "sections": card_sections(version),
            "as_document": True,
            "intended_use_notice": settings.INTENDED_USE_NOTICE,
        },
    )
    return to_pdf(html, stylesheet("documents/document.css"), stylesheet("evaluation/evaluation.css"))


def _release(version: ModelVersion) -> engine.Table:
    space = version.manifest["input_space"]
    state = version_state(with_state(ModelVersion.objects.filter(pk=version.pk)).get())
    rows = (
        ("Version", str(version)),
        ("State", state),
        ("Architecture", version.architecture),
        ("Input", f"{space['size']} × {space['size']} pixels, {space['fit']}, {space['resize']}"),
        ("SHA-256", version.sha256),
        ("Device UID", version.device_uid),
        ("Registered", f"{version.registered:%Y-%m-%d %H:%M} UTC"),
    )
    return engine.Table("Release", ("Field", "Value"), rows)


def _data(version: ModelVersion) -> engine.Table:
    return engine.Table("Data", ("Field", "Value"), tuple(_rows(version.data)))


def _rows(values: Mapping[str, Any], within: str = "") -> Sequence[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for name, value in values.items():
        field = f"{within}{name}".replace("_", " ")
        rows += _rows(value, f"{field}: ") if isinstance(value, Mapping) else [(field, str(value))]
    return rows


def _points(version: ModelVersion) -> engine.Table:
    notes = version.manifest["threshold_notes"]
    rows = []
    for label in version.manifest["labels"]:
        point = version.thresholds[label]
        shown = (
            (f"{point['value']:.3f}", point["strategy"], str(point["positives"] or "not known"))
            if point
            else ("none", "", "")
        )
        rows.append((label, *shown))
    alarms = alarm_figures(version, {label: point["value"] for label, point in version.thresholds.items() if point})
    return engine.Table(
        "Operating points",
        ("Finding", "Positive from", "Strategy", "Positive validation films"),
        tuple(rows),
        (*([str(alarms)] if alarms else []), *(f"{label}: {note}" for label, note in notes.items())),
    )


def _films(evaluation: Evaluation) -> str:
    films = f"{evaluation.n} films of {evaluation.patients} patients"
    return f"{films}, {evaluation.at:%Y-%m-%d}; list {evaluation.split_sha256}."


def _training(version: ModelVersion) -> list[Section]:
    run = version.training_runs.first()
    if run is None:
        return [Section("Training", ["Registered from a folder: this platform has no curve of its training."])]
    return [Section(f"Training: {run}", charts=training_curves(run))]


def _gates(version: ModelVersion) -> list[Section]:
    rows = tuple((str(gate.evaluation_set), gate.state.label, gate.reason) for gate in release_gates_of(version))
    return (
        [Section("Release gates", table=engine.Table("Release gates", ("Set", "Release gate", "Why"), rows))]
        if rows
        else []
    )


def _served(version: ModelVersion) -> Section:
    entries = Activation.objects.filter(to_version=version).select_related("for_tenant", "change_plan")
    rows = tuple(
        (
            str(entry.number),
            f"{entry.at:%Y-%m-%d %H:%M}",
            str(entry.scope),
            entry.get_act_display(),
            str(entry.change_plan.number) if entry.change_plan else "–",
            entry.reason,
        )
        for entry in entries[:_MOST_ENTRIES]
    )
    table = engine.Table("Ledger", ("Entry", "When", "For", "What", "Plan", "Why"), rows)
    return Section("Where it served", table=table) if rows else Section("Where it served", ["Nowhere yet."])

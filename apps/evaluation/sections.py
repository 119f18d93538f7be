"""What an evaluation found, in the order in which the console's page and the PDF show it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from apps.core.charts import Axis, Chart, ChartSeries, line_chart
from apps.evaluation.models import Evaluation
from apps.registry import engine

_FORMS = (("raw", "before"), ("platt", "after"))
_FEW_FILMS = 10
_SMALL = {"width": 230, "height": 200}


@dataclass(frozen=True)
class Section:
    title: str
    text: Sequence[str] = ()
    table: engine.Table | None = None
    charts: Sequence[Chart] = ()
    verbatim: str = ""


def evaluation_sections(evaluation: Evaluation) -> list[Section]:
    """Everything that the page shows, in its order."""
    report = evaluation.report
    tables = [*engine.report_tables(report), engine.table2([report])]
    return [
        Section("Trained on", [_trained_on(report["model"]["trained_on"])]),
        *(Section(table.title, table=table) for table in tables),
        *([] if report["localisation"] else [Section("Localisation", [f"Not run. {report['localisation_note']}"])]),
        Section("ROC curves", _left_out(report), charts=_roc_curves(report)),
        Section("Calibration before and after Platt scaling", _left_out(report), charts=_reliability_curves(report)),
        Section("What was not run", report["not_run"]),
    ]


def _trained_on(told: Mapping[str, Any]) -> str:
    parts = [
        f"{part}: {told[part]['films']} films of {told[part]['patients']} patients"
        for part in ("train", "validation")
        if part in told
    ]
    return "; ".join([str(told["source"]), f"split: {told['split_id']}", *parts]) + "."


def _drawn(report: Mapping[str, Any]) -> dict[str, Any]:
    """The labels whose curves are more than a few films' steps."""
    return {
        label: entry for label, entry in report["labels"].items() if entry["roc"] and entry["positives"] >= _FEW_FILMS
    }


def _left_out(report: Mapping[str, Any]) -> list[str]:
    absent = [label for label in report["labels"] if label not in _drawn(report)]
    return [f"Under {_FEW_FILMS} positive films, so not drawn: {', '.join(absent)}."] if absent else []


def _roc_curves(report: Mapping[str, Any]) -> list[Chart]:
    return [
        line_chart(
            f"{label}, AUROC {entry['auroc']:.3f}",
            [ChartSeries(label, [(x, y) for x, y in entry["roc"]])],
            x=Axis("1 − specificity", 0.0, 1.0),
            y=Axis("sensitivity", 0.0, 1.0),
            diagonal=True,
            **_SMALL,
        )
        for label, entry in _drawn(report).items()
    ]


def _reliability_curves(report: Mapping[str, Any]) -> list[Chart]:
    return [_reliability(label, entry["reliability"]) for label, entry in _drawn(report).items()]


def _reliability(label: str, points: Mapping[str, Sequence[Sequence[float]]]) -> Chart:
    # One reach for both axes: then the diagonal is where prediction and observation agree.
    reach = max((value for bins in points.values() for each in bins for value in each[:2]), default=1.0)
    return line_chart(
        label,
        [ChartSeries(form, [(each[0], each[1]) for each in points[key]]) for key, form in _FORMS],
        x=Axis("predicted", 0.0, reach),
        y=Axis("observed", 0.0, reach),
        diagonal=True,
        **_SMALL,
    )

"""The sections of an evaluation's report, in the order in which the console and the PDF show them."""

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
    """All sections of an evaluation, in their order on the page."""
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


def _trained_on(trained_on: Mapping[str, Any]) -> str:
    parts = [
        f"{part}: {trained_on[part]['films']} films of {trained_on[part]['patients']} patients"
        for part in ("train", "validation")
        if part in trained_on
    ]
    return "; ".join([str(trained_on["source"]), f"split: {trained_on['split_id']}", *parts]) + "."


def _drawn(report: Mapping[str, Any]) -> dict[str, Any]:
    """The labels with enough positive films for a curve."""
    return {
        label: entry for label, entry in report["labels"].items() if entry["roc"] and entry["positives"] >= _FEW_FILMS
    }


def _left_out(report: Mapping[str, Any]) -> list[str]:
    absent = [label for label in report["labels"] if label not in _drawn(report)]
    return [f"Not drawn, with fewer than {_FEW_FILMS} positive films: {', '.join(absent)}."] if absent else []


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
    # Both axes have the same range, so the diagonal is where prediction and observation agree.
    highest = max((value for bins in points.values() for each in bins for value in each[:2]), default=1.0)
    return line_chart(
        label,
        [ChartSeries(form, [(each[0], each[1]) for each in points[key]]) for key, form in _FORMS],
        x=Axis("predicted", 0.0, highest),
        y=Axis("observed", 0.0, highest),
        diagonal=True,
        **_SMALL,
    )

"""What an evaluation found, laid out once for the console's page, for the PDF and for whoever reads it as text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from apps.registry.charts import Axis, Chart, Series, line_chart
from apps.registry.models import Evaluation

_FORMS = (("raw", "before"), ("platt", "after"))
_FAMILIES = {"sex": "Sex", "age": "Age", "view": "View"}
_LOCATED = {
    "fixed_scale": "Map, as displayed",
    "own_peak": "Map, half its own peak",
    "random_fixed_scale": "Random, as displayed",
    "random_own_peak": "Random, half its own peak",
    "prior": "Position alone",
}
_FIGURE_NAMES = {
    "pointing": "Pointing game",
    "box_contains_centre": "Predicted box contains the centre",
    "region_found": "Any region shown",
}
_SUBGROUP_NOTE = (
    "At the thresholds that everybody shares. Only the mean over common labels compares groups. Missed findings: films "
    "with a finding on which no label reached its operating point. TPR gap: sensitivity in the group less that in all "
    "others."
)
_POINTING = ("fixed_scale", "random_fixed_scale", "prior")
_SMALL = {"width": 230, "height": 200}


@dataclass(frozen=True)
class Table:
    """Headers, rows and what has to be said under them. The first cell of a row is its head."""

    caption: str
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    footnotes: Sequence[str] = ()


@dataclass(frozen=True)
class Section:
    title: str
    text: Sequence[str] = ()
    tables: Sequence[Table] = ()
    charts: Sequence[Chart] = field(default_factory=list)


def sections(evaluation: Evaluation) -> list[Section]:
    """Everything that the page shows, in its order."""
    report = evaluation.report
    return [
        _findings(report),
        _curves(report),
        _calibration(report),
        *_subgroups(report),
        _localisation(report),
        Section("How it was measured", [report["method"]["text"], _gate(report["gate"])]),
        Section("What was not run", report["not_run"]),
    ]


def number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def with_interval(value: float | None, ci95: Sequence[float] | None, digits: int = 3) -> str:
    if value is None or ci95 is None:
        return number(value, digits)
    return f"{value:.{digits}f} ({ci95[0]:.{digits}f}–{ci95[1]:.{digits}f})"


def _gate(gate: Mapping[str, Any]) -> str:
    return (
        f"The version's gate would refuse {gate['refused']} of the {gate['films']} films; all of them are counted here."
    )


def _findings(report: Mapping[str, Any]) -> Section:
    ranking = [
        (
            label,
            str(entry["positives"]),
            with_interval(entry["auroc"], entry["ci95"]),
            with_interval(entry["auprc"], entry.get("auprc_ci95")),
        )
        for label, entry in report["labels"].items()
    ]
    mean = ("Mean", "", with_interval(report["mean_auroc"], report["ci95"]), number(report.get("mean_auprc")))
    rest = with_interval(report.get("mean_auroc_without_pneumonia"), report.get("ci95_without_pneumonia"))
    points = [(label, *_point(entry)) for label, entry in report["labels"].items()]
    return Section(
        "Findings",
        tables=[
            Table(
                "Ranking (95 % CI)",
                ("Finding", "Positive films", "AUROC", "AUPRC"),
                [mean, ("Mean without Pneumonia", "", rest, ""), *ranking],
                ["Intervals are bootstraps over patients: films of one patient are not independent."],
            ),
            Table(
                "At the version's stored operating points (95 % CI)",
                ("Finding", "Positive from", "Sensitivity", "Specificity", "PPV", "NPV"),
                points,
                ["Predictive values hold for the prevalence of these films only."],
            ),
        ],
    )


def _point(entry: Mapping[str, Any]) -> tuple[str, ...]:
    point = entry["operating_point"]
    if point is None:
        return (entry.get("operating_point_note") or "none", "–", "–", "–", "–")
    shares = ("sensitivity", "specificity", "ppv", "npv")
    return number(point["threshold"]), *(with_interval(point.get(s), point.get(f"{s}_ci95"), 2) for s in shares)


def _curves(report: Mapping[str, Any]) -> Section:
    charts = [
        line_chart(
            f"{label}, AUROC {number(entry['auroc'])}",
            [Series(label, [(x, y) for x, y in entry["roc"]])],
            x=Axis("1 − specificity", 0.0, 1.0),
            y=Axis("sensitivity", 0.0, 1.0),
            diagonal=True,
            **_SMALL,
        )
        for label, entry in report["labels"].items()
        if entry.get("roc")
    ]
    return Section("ROC curves", charts=charts)


def _calibration(report: Mapping[str, Any]) -> Section:
    rows = [
        (
            label,
            number(entry["ece"]["raw"], 4),
            number(entry["ece"]["platt"], 4),
            number(entry["brier"]["raw"], 4),
            number(entry["brier"]["platt"], 4),
        )
        for label, entry in report["labels"].items()
    ]
    mean = [number(report[figure][form], 4) for figure in ("ece", "brier") for form in ("raw", "platt")]
    charts = [
        _reliability(label, entry["reliability"]) for label, entry in report["labels"].items() if entry["reliability"]
    ]
    return Section(
        "Calibration",
        ["Expected calibration error over 15 bins of equal mass, and Brier score: before and after Platt scaling."],
        [
            Table(
                "Calibration",
                ("Finding", "ECE before", "ECE after", "Brier before", "Brier after"),
                [("Mean", *mean), *rows],
            )
        ],
        charts,
    )


def _reliability(label: str, points: Mapping[str, Sequence[Sequence[float]]]) -> Chart:
    # One reach for both axes: then the diagonal is where prediction and observation agree.
    reach = max((value for bins in points.values() for each in bins for value in each[:2]), default=1.0)
    return line_chart(
        label,
        [Series(form, [(bin_[0], bin_[1]) for bin_ in points[key]]) for key, form in _FORMS],
        x=Axis("predicted", 0.0, reach),
        y=Axis("observed", 0.0, reach),
        diagonal=True,
        **_SMALL,
    )


def _subgroups(report: Mapping[str, Any]) -> list[Section]:
    families = report.get("subgroups")
    if not families:
        return []
    tables = []
    for name, family in families.items():
        rows = [(group, *_group(figures)) for group, figures in family["groups"].items()]
        tables.append(
            Table(
                _FAMILIES.get(name, name),
                (
                    "Group", "Films", "Mean AUROC, own labels", "Mean AUROC, common labels", "Missed findings",
                    "Alarms without finding", "Largest TPR gap",
                ),
                rows,
                [f"Common labels: {', '.join(family['common_labels']) or 'none'}."],
            )
        )  # fmt: skip
    return [
        Section(
            "Subgroups",
            [_SUBGROUP_NOTE],
            tables,
        )
    ]


def _group(figures: Mapping[str, Any]) -> tuple[str, ...]:
    gap = figures["largest_tpr_gap"]
    return (
        str(figures["n"]),
        with_interval(figures["mean_auroc"], figures["ci95"]),
        with_interval(figures["mean_auroc_common"], figures["ci95_common"]),
        with_interval(figures["underdiagnosis"], figures["underdiagnosis_ci95"], 2),
        with_interval(figures["overdiagnosis"], figures["overdiagnosis_ci95"], 2),
        f"{gap['gap']:+.2f} {gap['label']} ({gap['positives']} films)" if gap else "–",
    )


def _localisation(report: Mapping[str, Any]) -> Section:
    found = report["localisation"]
    if found is None:
        return Section("Localisation", [f"Not run. {report['localisation_note']}"])
    tables = [
        _located(name, found[key])
        for name, key in (("Mean of labels", "mean_of_labels"), ("All boxes", "all_boxes"))
        if found.get(key)
    ]
    pointing = [
        (label, str(entry["boxes"]), *(number(entry[form]["pointing"], 2) for form in _POINTING))
        for label, entry in found["labels"].items()
    ]
    headers = ("Finding", "Boxes", *(_LOCATED[form].split(",")[0] for form in _POINTING))
    told = f"{found['boxes']} boxes on {found['films']} films. {found['method']}"
    return Section("Localisation", [told], [*tables, Table("Pointing game by finding", headers, pointing)])


def _located(caption: str, entry: Mapping[str, Any]) -> Table:
    rows = [
        (
            _FIGURE_NAMES.get(figure) or figure.replace("iobb", "IoBB ").replace("iou", "IoU "),
            *(number(entry[form][figure], 2) for form in _LOCATED),
        )
        for figure in entry["fixed_scale"]
    ]
    over = [
        f"over {name} {with_interval(entry[f'pointing_over_{key}'], entry.get(f'pointing_over_{key}_ci95'), 2)}"
        for key, name in (("random", "random"), ("prior", "position alone"))
    ]
    own = with_interval(entry["fixed_scale"]["pointing"], entry.get("pointing_ci95"), 2)
    beside = [f"Pointing game {own}; {', '.join(over)} (95 % CI)."]
    return Table(caption, ("Figure", *_LOCATED.values()), rows, beside)

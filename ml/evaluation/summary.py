"""Format a report as tables for the terminal, the page and the PDF."""

from collections.abc import Mapping
from typing import Any

from ml.evaluation.localisation import FORMS
from ml.evaluation.prior import FIGURES
from ml.evaluation.subgroups import DISCLOSED_GAP, DISCLOSED_POSITIVES
from ml.evaluation.tables import ABSENT, Table, few_positives, number, table3, with_interval
from ml.labels import LABELS

_FORM_NAMES = {
    "fixed_scale": "map, fixed scale",
    "own_peak": "map, own peak",
    "random_fixed_scale": "random control, fixed scale",
    "random_own_peak": "random control, own peak",
    "prior": "box-position prior",
}


def report_tables(report: Mapping[str, Any]) -> list[Table]:
    """Every table of a report; localisation where it was run."""
    tables = [findings_table(report), operating_table(report), *alarm_tables(report), subgroup_table(report)]
    if report["localisation"]:
        tables.append(localisation_table(report))
    return [*tables, table3(report)]


def report_text(report: Mapping[str, Any]) -> str:
    """The report for a terminal."""
    model, split = report["model"], report["split"]
    without = with_interval(report["mean_auroc_without_pneumonia"], report["ci95_without_pneumonia"])
    head = [
        f"{model['name']} ({model['architecture']}, {model['input_size']} pixels), {model['sha256'][:12]}",
        f"Trained on: {model['trained_on']['source']}; {model['trained_on']['split_id']}",
        (
            f"Evaluated on: {split['id']}, SHA-256 {split['sha256'][:12]}; {report['n']} films, {report['patients']} "
            "patients"
        ),
        (
            f"Mean AUROC {with_interval(report['mean_auroc'], report['ci95'])} over {report['labels_in_mean']} labels; "
            f"without Pneumonia {without}; mean AUPRC {with_interval(report['mean_auprc'], report['mean_auprc_ci95'])}"
        ),
        (
            f"Calibration error {number(report['ece']['raw'], 4)} before and {number(report['ece']['platt'], 4)} after "
            f"Platt; Brier score {number(report['brier']['raw'], 4)} and {number(report['brier']['platt'], 4)}"
        ),
        f"The input check would refuse {report['gate']['refused']} of {report['gate']['films']} films.",
    ]
    not_run = ["Not run:", *(f"- {line}" for line in report["not_run"])]
    return "\n\n".join(["\n".join(head), *(table.text() for table in report_tables(report)), "\n".join(not_run)])


def findings_table(report: Mapping[str, Any]) -> Table:
    """AUROC, AUPRC and calibration of each label."""
    rows = []
    for label in LABELS:
        entry = report["labels"][label]
        rows.append(
            (
                label,
                str(entry["positives"]),
                with_interval(entry["auroc"], entry["ci95"]),
                with_interval(entry["auprc"], entry["auprc_ci95"]),
                number(entry["ece"]["raw"]),
                number(entry["ece"]["platt"]),
                number(entry["brier"]["platt"]),
            )
        )
    headers = ("Finding", "Positive", "AUROC (95 % CI)", "AUPRC (95 % CI)", "ECE raw", "ECE Platt", "Brier")
    return Table("Findings", headers, tuple(rows), (report["method"]["text"], *few_positives(report)))


def operating_table(report: Mapping[str, Any]) -> Table:
    """Figures at the stored operating points."""
    rows, notes = [], []
    names = ("sensitivity", "specificity", "ppv", "npv")
    for label in LABELS:
        entry = report["labels"][label]
        point = entry["operating_point"]
        if point is None:
            rows.append((label, *([ABSENT] * (1 + len(names)))))
            notes.append(f"{label}: {entry['operating_point_note']}")
            continue
        figures = (with_interval(point[name], point[f"{name}_ci95"], 2) for name in names)
        rows.append((label, number(point["threshold"]), *figures))
    headers = ("Finding", "Threshold", "Sensitivity", "Specificity", "PPV", "NPV")
    notes.append("PPV and NPV hold for the prevalence of these films only.")
    return Table("At the stored operating points", headers, tuple(rows), tuple(notes))


def alarm_tables(report: Mapping[str, Any]) -> list[Table]:
    """The share of normal films that is flagged, in all, by view and by finding; none in earlier releases' reports."""
    found = report.get("normals_flagged")
    if not found:
        return []
    rows = [("All", with_interval(found["share"], found["ci95"]))]
    rows += [(f"view {view}", number(share)) for view, share in found["by_view"].items()]
    rows += [(label, number(share)) for label, share in found["by_label"].items()]
    notes = [f"{found['n']} films are normal: all findings are known to be absent. By sex and age: see Subgroups."]
    if report["findings_flagged"]["n"]:
        notes.append(
            f"Of {report['findings_flagged']['n']} films with a finding, {number(report['findings_flagged']['share'])} "
            "are flagged for any."
        )
    return [Table("Alarms on normal films", ("Films or finding", "Share flagged"), tuple(rows), tuple(notes))]


def subgroup_table(report: Mapping[str, Any]) -> Table:
    """Each group's ranking, underdiagnosis, overdiagnosis and largest gap of sensitivity."""
    rows, notes = [], []
    for family, found in report["subgroups"].items():
        for name, group in found["groups"].items():
            gap = group["largest_tpr_gap"]
            rows.append(
                (
                    f"{family} {name}",
                    f"{group['n']} ({group['patients']})",
                    with_interval(group["mean_auroc"], group["ci95"]),
                    with_interval(group["mean_auroc_common"], group["ci95_common"]),
                    with_interval(group["underdiagnosis"], group["underdiagnosis_ci95"]),
                    with_interval(group["overdiagnosis"], group["overdiagnosis_ci95"]),
                    f"{gap['gap']:+.2f} {gap['label']} (n+ {gap['positives']})" if gap else ABSENT,
                )
            )
            if group["gaps_to_disclose"]:
                notes.append(f"{family} {name}: sensitivity differs in {', '.join(group['gaps_to_disclose'])}.")
        notes.append(f"{family}: {len(found['common_labels'])} labels have enough films in each group.")
    headers = (
        "Group", "Films (patients)", "Mean AUROC", "Mean, common labels", "Underdiagnosis", "Overdiagnosis",
        "Largest gap",
    )  # fmt: skip
    notes += [
        (
            "Only the mean over common labels compares groups. Gap: sensitivity in the group minus that of all "
            f"others, at the shared threshold; named above where over {DISCLOSED_GAP} with {DISCLOSED_POSITIVES} "
            "positives or more. Underdiagnosis: films with a finding on which no label reaches its threshold. "
            "Overdiagnosis: films without any finding on which one does."
        ),
    ]
    return Table("Subgroups", headers, tuple(rows), tuple(notes))


def localisation_table(report: Mapping[str, Any]) -> Table:
    """Pointing and overlaps, each form with its controls."""
    # Reports of earlier releases have the details under the other name.
    found = report.get("localisation_details", report["localisation"])
    mean = found["mean_of_labels"]
    whole = mean or found["all_boxes"]
    rows = [(_FORM_NAMES[form], *(number(whole[form][figure], 2) for figure in FIGURES)) for form in FORMS]
    for label, entry in found["labels"].items():
        for form in ("fixed_scale", "random_fixed_scale", "prior"):
            name = f"{label} ({entry['boxes']}), {_FORM_NAMES[form]}"
            rows.append((name, *(number(entry[form][figure], 2) for figure in FIGURES)))
    over = [
        f"pointing minus {name} {with_interval(whole[f'pointing_over_{key}'], whole[f'pointing_over_{key}_ci95'], 2)}"
        for key, name in (("random", "the random control"), ("prior", "the prior"))
    ]
    return Table(
        f"Localisation on {found['boxes']} boxes of {found['films']} films",
        (f"{'Mean of labels' if mean else 'All boxes'}", *(name.replace("_", " ") for name in FIGURES)),
        tuple(rows),
        (found["method"], found["note"], "; ".join(over) + " (95 % CI)."),
    )

"""Tables as plain data for the terminal, the page and the PDF, and Tables 2 and 3 of the paper.

"The paper" is the one on training DenseNets on several machines from which this project started.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from textwrap import fill
from typing import Any

import numpy as np

from ml.evaluation.image_list import OFFICIAL_TEST
from ml.evaluation.published import CHEXNET, NOT_STATED, PAPER_121, PAPER_169, PAPER_201, WANG, YAO, Published
from ml.labels import LABELS

ABSENT = "–"
FEW = 10
_TEXT_WIDTH = 120
SPLITS_DIFFER = (
    "Columns with different splits can't be compared: one model loses about 0.02 of mean AUROC from a random split by "
    "patient to NIH's official test list (a public CheXNet reproduction: 0.838 on its own 22,433 films, 0.818 on the "
    "5,213 of them that are in NIH's official test list)."
)


@dataclass(frozen=True)
class Table:
    """A table: headers, rows with as many cells, and footnotes; the first column names the row."""

    title: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    footnotes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return asdict(self)

    def text(self) -> str:
        """Aligned columns for a terminal."""
        lines = [self.headers, *self.rows]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.headers))]
        ruled = "  ".join("-" * width for width in widths)
        drawn = ["  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines]
        notes = [fill(note, _TEXT_WIDTH, initial_indent="* ", subsequent_indent="  ") for note in self.footnotes]
        return "\n".join([self.title, "", drawn[0], ruled, *drawn[1:], *notes])


def number(value: float | None, digits: int = 3) -> str:
    """A figure, or a dash where there is none."""
    return ABSENT if value is None else f"{value:.{digits}f}"


def with_interval(value: float | None, ci95: Sequence[float] | None, digits: int = 3) -> str:
    """A figure and its 95 % interval."""
    return number(value, digits) + (f" ({ci95[0]:.{digits}f}–{ci95[1]:.{digits}f})" if ci95 else "")


def split_name(report: Mapping[str, Any]) -> str:
    """The name of a report's list, which states whether it is NIH's official one."""
    identity = report["split"]["id"]
    return "NIH official" if identity == OFFICIAL_TEST else f"{identity}, not NIH's official"


def _published_column(column: Published) -> list[str]:
    rest = [value for label, value in column.labels.items() if label != "Pneumonia"]
    return [
        *(number(column.labels[label], 4) for label in LABELS),
        number(column.mean, 4),
        number(float(np.mean(rest)), 4),
        column.split,
        column.films,
        column.interval,
    ]


def _report_column(report: Mapping[str, Any]) -> list[str]:
    return [
        *(with_interval(report["labels"][k]["auroc"], report["labels"][k]["ci95"]) for k in LABELS),
        with_interval(report["mean_auroc"], report["ci95"]),
        with_interval(report["mean_auroc_without_pneumonia"], report["ci95_without_pneumonia"]),
        split_name(report),
        f"{report['n']} ({report['patients']})",
        "in brackets",
    ]


_SIDE = (*LABELS, "Mean", "Mean without Pneumonia", "Test split", "Films (patients)", "95 % CI")


def _transposed(titles: Sequence[str], columns: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    return tuple(zip(titles, *columns, strict=True))


def few_positives(report: Mapping[str, Any]) -> list[str]:
    """A footnote with the labels that have few positive images."""
    few = [label for label in LABELS if 0 < report["labels"][label]["positives"] < FEW]
    name = report["model"]["name"]
    return [f"{name}: under {FEW} positive films in {', '.join(few)}; those figures say little."] if few else []


def _labels_missing(reports: Sequence[Mapping[str, Any]]) -> list[str]:
    return [
        f"{report['model']['name']}: the mean is over {report['labels_in_mean']} labels; the list has no films with, "
        "or none without, the others."
        for report in reports
        if report["labels_in_mean"] < len(LABELS)
    ]


def table3(report: Mapping[str, Any]) -> Table:
    """Table 3 of the paper: AUROC per finding of Wang, Yao, CheXNet, the paper, and this version with 95 % CI."""
    columns = (WANG, YAO, CHEXNET, PAPER_121)
    name = report["model"]["name"]
    return Table(
        "AUROC per finding beside published figures (Table 3)",
        ("Finding", *(column.title for column in columns), name),
        _transposed(_SIDE, [*map(_published_column, columns), _report_column(report)]),
        (
            SPLITS_DIFFER,
            (
                f"{name} is measured on {split_name(report)}: {report['n']} films of {report['patients']} patients. "
                "Intervals are a bootstrap over patients."
            ),
            "The published columns are as printed: Wang and Yao as CheXNet's paper prints them, without intervals.",
            *_labels_missing([report]),
            *few_positives(report),
        ),
    )


def table2(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Table 2 of the paper: AUROC by architecture. `rows` are reports of `evaluate_version` or `compare_versions`.

    Raises:
        ValueError: the reports are of different lists.
    """
    lists = {row["split"]["sha256"] for row in rows}
    if len(lists) != 1:
        raise ValueError("The versions were evaluated on different lists. Evaluate them on one and the same.")
    titles = [f"{row['model']['name']} ({row['model']['architecture']})" for row in rows]
    columns, side = [_report_column(row) for row in rows], list(_SIDE)
    if any("difference" in row for row in rows):
        side.append(f"Mean minus {rows[0]['model']['name']}")
        for column, row in zip(columns, rows, strict=True):
            gap = row.get("difference")
            column.append(with_interval(gap["mean_auroc"], gap["ci95"]) if gap else ABSENT)
    published = [_published_column(column) for column in (PAPER_121, PAPER_169, PAPER_201)]
    for column in published:
        column += [ABSENT] * (len(side) - len(column))
    return Table(
        "AUROC per finding by architecture (Table 2)",
        ("Finding", *titles, PAPER_121.title, PAPER_169.title, PAPER_201.title),
        _transposed(side, [*columns, *published]),
        (
            SPLITS_DIFFER,
            (
                f"The versions are measured on {split_name(rows[0])}: {rows[0]['n']} films of {rows[0]['patients']} "
                "patients. Differences are paired: both versions on the same drawn patients; where the interval holds "
                "0, no difference was found; one training each says nothing of the spread between seeds."
            ),
            f"The paper's columns are as printed in its Table 2; its split is {NOT_STATED}.",
            *_labels_missing(rows),
            *few_positives(rows[0]),
        ),
    )

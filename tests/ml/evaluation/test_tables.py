import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ml.evaluation.image_list import OFFICIAL_TEST
from ml.evaluation.published import CHEXNET, PAPER_121, PAPER_169, PAPER_201, WANG, YAO
from ml.evaluation.tables import SPLITS_DIFFER, table2, table3
from ml.labels import LABELS


def report(
    name: str = "mine", split: str = "list mine.txt", sha256: str = "a" * 64, missing: int = 0
) -> dict[str, Any]:
    defined = {"auroc": 0.8, "ci95": [0.7, 0.9], "positives": 40}
    absent = {"auroc": None, "ci95": None, "positives": 0}
    return {
        "model": {"name": name, "architecture": "densenet121"},
        "split": {"id": split, "sha256": sha256, "films": 283},
        "n": 283,
        "patients": 213,
        "mean_auroc": 0.8,
        "ci95": [0.75, 0.85],
        "labels_in_mean": 14 - missing,
        "mean_auroc_without_pneumonia": 0.81,
        "ci95_without_pneumonia": [0.76, 0.86],
        "labels": {label: absent if i < missing else defined for i, label in enumerate(LABELS)},
    }


@pytest.mark.parametrize(
    ("column", "mean"),
    [(WANG, 0.7381), (YAO, 0.8027), (CHEXNET, 0.8414), (PAPER_121, 0.8320), (PAPER_169, 0.8016), (PAPER_201, 0.8013)],
)
def test_published_columns_give_their_means(column: Any, mean: float) -> None:
    assert column.mean == mean
    assert tuple(column.labels) == LABELS
    assert np.mean(list(column.labels.values())) == pytest.approx(mean, abs=5.1e-5)


def test_the_papers_columns_are_those_of_its_table_2(test_data: Path) -> None:
    with (test_data / "golden" / "seed_paper_table2.csv").open(newline="") as stream:
        for row in csv.DictReader(stream):
            columns = {"densenet121": PAPER_121, "densenet169": PAPER_169, "densenet201": PAPER_201}
            assert {name: column.labels[row["finding"]] for name, column in columns.items()} == {
                name: float(row[name]) for name in columns
            }


def test_table_3_names_split_films_and_interval_of_every_column() -> None:
    table = table3(report())
    cells = {row[0]: row[1:] for row in table.rows}
    assert table.headers[1:5] == ("Wang et al. 2017", "Yao et al. 2017", "CheXNet 2017", "Paper, DenseNet121")
    assert list(cells)[:14] == list(LABELS)
    assert cells["Mean"] == ("0.7381", "0.8027", "0.8414", "0.8320", "0.800 (0.750–0.850)")
    assert cells["Hernia"][2:] == ("0.9164", "0.8295", "0.800 (0.700–0.900)")
    assert cells["Test split"][-1] == "list mine.txt, not NIH's official"
    assert cells["Films (patients)"][-1] == "283 (213)"
    for name in ("Test split", "Films (patients)", "95 % CI"):
        assert all(cells[name])
    assert SPLITS_DIFFER in table.footnotes


def test_only_the_official_list_is_called_official() -> None:
    cells = {row[0]: row[-1] for row in table3(report(split=OFFICIAL_TEST)).rows}
    assert cells["Test split"] == "NIH official"


def test_labels_without_a_figure_are_told() -> None:
    table = table3(report(missing=2))
    assert {row[0]: row[-1] for row in table.rows}["Atelectasis"] == "–"
    assert any("over 12 labels" in note for note in table.footnotes)


def test_table_2_sets_architectures_side_by_side() -> None:
    other = {**report("other"), "difference": {"mean_auroc": -0.01, "ci95": [-0.03, 0.01]}}
    table = table2([report(), other])
    cells = {row[0]: row[1:] for row in table.rows}
    assert table.headers[1:3] == ("mine (densenet121)", "other (densenet121)")
    assert cells["Mean"][2:] == ("0.8320", "0.8016", "0.8013")
    assert cells["Edema"][2:] == ("0.8847", "0.8245", "0.8732")
    assert cells["Mean minus mine"] == ("–", "-0.010 (-0.030–0.010)", "–", "–", "–")
    assert {len(row) for row in table.rows} == {len(table.headers)}


def test_versions_on_different_lists_are_no_table() -> None:
    with pytest.raises(ValueError, match="one and the same"):
        table2([report(), report(sha256="b" * 64)])


def test_text_is_aligned_and_footnotes_fit_a_terminal() -> None:
    lines = table3(report()).text().splitlines()
    ruled = lines[3]
    starts = [i for i, c in enumerate(ruled) if c == "-" and (i == 0 or ruled[i - 1] == " ")]
    assert all(line[start - 1] == " " for line in lines[2:20] for start in starts[1:] if len(line) > start)
    assert all(len(line) <= 120 for line in lines if line.startswith(("* ", "  ")))

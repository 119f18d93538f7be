"""Public predictions with known figures, in the form that the evaluation uses."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ml.data import ImageRecord, read_table, targets
from ml.evaluation.figures import Scored
from ml.labels import LABELS
from ml.metrics import youden_threshold
from ml.model.manifest import Threshold


@dataclass(frozen=True, eq=False)
class Golden:
    scored: Scored
    records: list[ImageRecord]
    names: list[str]


def read(root: Path) -> Golden:
    table = read_table(root / "nih-official" / "Data_Entry_2017_v2020.csv.gz")
    with (root / "golden" / "chexnet_reproduction_predictions.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    names = [row["Image Index"] for row in rows]
    p = np.array([[float(row[f"prob_{label}"]) for label in LABELS] for row in rows])
    truth = targets(table, names).astype(np.float64)
    thresholds = {
        label: Threshold(youden_threshold(truth[:, i], p[:, i]), "youden", int(truth[:, i].sum()))
        for i, label in enumerate(LABELS)
    }
    records = [table[name] for name in names]
    scored = Scored(truth, np.log(p / (1 - p)), [record.patient for record in records], thresholds, {}, {})
    return Golden(scored, records, names)

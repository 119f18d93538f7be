"""The data types of a data set: a row of its table, a split, and the exception for an unusable folder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ml.labels import LABELS


class DatasetInvalid(Exception):
    """The folder is not a usable data set. The message names the file, the line and what to do."""


class CannotBeDivided(DatasetInvalid):
    """The tables are right, but there are too few patients for a training, a validation and a test part."""


@dataclass(frozen=True)
class ImageRecord:
    """One row of a table: an image with its patient and findings.

    Attributes:
        image: file name (NIH, PadChest), or path relative to the folder.
        patient: identifier.
        findings: labels that are present.
        age: in years; None where it is missing or impossible.
        sex: "M", "F" or empty.
        view: "PA", "AP" or empty.
        unknown: labels whose presence is not known.
        part: of the split that the tables define: "train", "validation", "test" or empty.
        line: number of the line in the table.
        others: findings that are present and that no NIH label stands for, in the data set's own words.
        table: file name of the table.
    """

    image: str
    patient: str
    findings: frozenset[str]
    age: int | None
    sex: str
    view: str
    unknown: frozenset[str] = frozenset()
    part: str = ""
    line: int = field(default=0, compare=False)
    others: frozenset[str] = frozenset()
    table: str = field(default="", compare=False)


@dataclass(frozen=True)
class Split:
    """Image names of each subset; `sha256` identifies the lists, `how` describes where they come from."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    sha256: str
    how: str = ""


def targets(records: Mapping[str, ImageRecord], names: Sequence[str]) -> NDArray[np.float32]:
    """Truth (N, 14) of 0 and 1, NaN where unknown, in the order of LABELS."""
    truth = np.zeros((len(names), len(LABELS)), dtype=np.float32)
    for row, name in enumerate(names):
        record = records[name]
        for column, label in enumerate(LABELS):
            if label in record.findings:
                truth[row, column] = 1
            elif label in record.unknown:
                truth[row, column] = np.nan
    return truth

"""What a data set consists of: films, their split, and the one error that says what is wrong with a folder."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ml.labels import LABELS


class DatasetInvalid(Exception):
    """The folder is not a usable data set. The message names file, line and remedy."""


@dataclass(frozen=True)
class ImageRecord:
    """One row of the table.

    `image` is the file's name (NIH) or its path relative to the folder (labels.csv). `age` in years, None when the
    table has nonsense; `view` is "PA" or "AP", `sex` "M" or "F", empty where not told. `unknown` are the labels of
    which the table says nothing, `part` what its split column says, `line` where the row stands.
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


@dataclass(frozen=True)
class Split:
    """Image names of each part; `sha256` identifies the lists themselves, `how` says where they come from."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    sha256: str
    how: str = ""


def targets(records: dict[str, ImageRecord], names: Sequence[str]) -> NDArray[np.float32]:
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

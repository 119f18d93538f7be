"""Map the outputs of a file by name to findings of ChestX-ray14; other outputs are left out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.importers.errors import ImportRefused
from ml.labels import LABELS

_SAME = {"pleural effusion": "Effusion"}
"""Other data sets' names for the same finding. A neighbouring one (Lung Lesion, Pleural Other) is not the same."""


def finding(name: str) -> str | None:
    """The ChestX-ray14 label for a name, or None. Case and underscores do not matter."""
    plain = name.replace("_", " ").strip().lower()
    return _SAME.get(plain) or next((label for label in LABELS if label.replace("_", " ").lower() == plain), None)


@dataclass(frozen=True)
class Choice:
    """The chosen outputs: `labels` in the order of LABELS, `rows` their outputs, `dropped` names of the others."""

    labels: tuple[str, ...]
    rows: tuple[int, ...]
    dropped: tuple[str, ...]

    @property
    def absent(self) -> tuple[str, ...]:
        """Labels of ChestX-ray14 without an output in the file."""
        return tuple(label for label in LABELS if label not in self.labels)


def choose(names: Sequence[str], outputs: int) -> Choice:
    """Map outputs by name.

    Raises:
        ImportRefused: the names do not fit the outputs, repeat, or contain no finding.
    """
    if len(names) != outputs:
        raise ImportRefused(
            f"The file has {outputs} outputs, but {len(names)} names are known for them. "
            "Give their names in their order with --labels, '' for one that was not trained."
        )
    row_of: dict[str, int] = {}
    dropped: list[str] = []
    for row, name in enumerate(names):
        label = finding(name)
        if label is None:
            dropped.append(name.strip() or f"output {row + 1}, not trained")
        elif label in row_of:
            raise ImportRefused(f"Two outputs are named {label}: correct --labels.")
        else:
            row_of[label] = row
    labels = tuple(label for label in LABELS if label in row_of)
    if not labels:
        raise ImportRefused(f"None of the outputs ({', '.join(names[:5])}) is a finding of ChestX-ray14.")
    return Choice(labels, tuple(row_of[label] for label in labels), tuple(dropped))


def select(tensors: dict[str, NDArray[Any]], choice: Choice) -> dict[str, NDArray[Any]]:
    """The network's tensors, with only the chosen outputs in the head, in the order of the labels."""
    rows = np.asarray(choice.rows)
    return tensors | {key: np.ascontiguousarray(tensors[key][rows]) for key in ("classifier.weight", "classifier.bias")}

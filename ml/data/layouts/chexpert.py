"""CheXpert (Irvin et al. 2019), full size or `CheXpert-v1.0-small`, and the states of its labeller.

`train.csv` (mined from reports), `valid.csv` and, where one has it, `test.csv` (both read by radiologists), with paths
such as `CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg`. The folder to give is the one that holds the
tables. The labeller's 1 is present, 0 and an empty cell (not mentioned in the report) are absent, -1 is uncertain and
so unknown here.
"""

from pathlib import Path

from ml.data.layouts.base import Dataset, Layout
from ml.data.records import DatasetInvalid, ImageRecord
from ml.data.tables import Row, add_record, first_file, header_of, read_rows, relative_path
from ml.labels import LABELS

MAPPED = {
    "Atelectasis": "Atelectasis",
    "Cardiomegaly": "Cardiomegaly",
    "Consolidation": "Consolidation",
    "Edema": "Edema",
    "Pleural Effusion": "Effusion",
    "Pneumonia": "Pneumonia",
    "Pneumothorax": "Pneumothorax",
}
"""The labeller's findings that are NIH labels too."""

OTHERS = (
    "Enlarged Cardiomediastinum",
    "Lung Opacity",
    "Lung Lesion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
    "No Finding",
)
NOT_LABELLED = frozenset(LABELS) - frozenset(MAPPED.values())

_PRESENT, _ABSENT, _UNCERTAIN = "present", "absent", "uncertain"
_STATES = {
    "": _ABSENT,
    "0": _ABSENT,
    "0.0": _ABSENT,
    "1": _PRESENT,
    "1.0": _PRESENT,
    "-1": _UNCERTAIN,
    "-1.0": _UNCERTAIN,
}
_PARTS = {"train": ("train.csv",), "valid": ("valid.csv",), "test": ("test.csv", "test_labels.csv")}
_SEXES = {"Male": "M", "Female": "F"}
_OLDEST = 120


def labels_of(where: str, row: Row) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """Findings, unknown NIH labels, and other findings of a row of the labeller.

    Raises:
        DatasetInvalid: a cell is none of the labeller's states.
    """
    states = {name: _STATES.get(row.get(name, "")) for name in (*MAPPED, *OTHERS)}
    for name, state in states.items():
        if state is None:
            raise DatasetInvalid(f"{where}: {name} is {row[name]!r}. The labeller writes 1, 0, -1 or nothing.")
    findings = frozenset(label for name, label in MAPPED.items() if states[name] == _PRESENT)
    uncertain = frozenset(label for name, label in MAPPED.items() if states[name] == _UNCERTAIN)
    others = frozenset(name for name in OTHERS if states[name] == _PRESENT)
    return findings, NOT_LABELLED | uncertain, others


def _tables(root: Path) -> dict[str, Path]:
    found = {part: first_file(root, names) for part, names in _PARTS.items()}
    return {part: path for part, path in found.items() if path and "Path" in header_of(path)}


def _read(root: Path) -> Dataset:
    tables, dataset = _tables(root), Dataset({})
    named = {"train": "train", "valid": "validation" if "test" in tables else "test", "test": "test"}
    for part, path in tables.items():
        # Without another table there is nothing to divide the training images from.
        value = named[part] if tables.keys() - {"train"} else ""
        for line, row in read_rows(path, ("Path", *MAPPED)):
            where = f"{path.name} line {line}"
            image = _image(where, row["Path"])
            view = _view(row, image)
            if view is None:
                dataset.left_out["lateral view"] += 1
                continue
            findings, unknown, others = labels_of(where, row)
            age, sex = row.get("Age", "").partition(".")[0], _SEXES.get(row.get("Sex", ""), "")
            add_record(
                dataset.records,
                ImageRecord(
                    image,
                    image.split("/")[1],
                    findings,
                    int(age) if age.isdecimal() and int(age) <= _OLDEST else None,
                    sex,
                    view,
                    unknown,
                    value,
                    line,
                    others,
                    path.name,
                ),
            )
    return dataset


def _image(where: str, text: str) -> str:
    """`CheXpert-v1.0-small/train/patient00001/...` -> `train/patient00001/...`."""
    parts = relative_path(where, text).split("/")
    start = next((index for index, part in enumerate(parts) if part in _PARTS), None)
    if start is None or len(parts) < start + 3:
        raise DatasetInvalid(
            f"{where}: Path {text!r} has no train, valid or test folder with a patient in it. Copy the table again."
        )
    return "/".join(parts[start:])


def _view(row: Row, image: str) -> str | None:
    """PA, AP or empty; None for a lateral view."""
    side, projection = row.get("Frontal/Lateral", ""), row.get("AP/PA", "")
    lateral = side == "Lateral" or (not side and image.rpartition("_")[2].startswith("lateral"))
    if lateral or projection in ("LL", "RL"):
        return None
    return projection if projection in ("PA", "AP") else ""


CHEXPERT = Layout(
    kind="chexpert",
    title="CheXpert",
    source="CheXpert (Stanford; Irvin et al. 2019)",
    looked_for="train.csv or valid.csv with a column Path (CheXpert)",
    find=lambda root: next(iter(_tables(root).values()), None),
    read=_read,
    own_split="CheXpert's tables; where there is no test.csv, valid.csv is the test part",
)

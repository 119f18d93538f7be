"""VinDr-CXR (Nguyen et al. 2022): PhysioNet's form, and that of the VinBigData challenge on Kaggle.

PhysioNet: `annotations/image_labels_train.csv` and `..._test.csv` (28 findings, one column each),
`annotations/annotations_train.csv` and `..._test.csv` (boxes), `train/*.dicom`, `test/*.dicom`. Kaggle: `train.csv`
(boxes of 14 findings) and `train/*.dicom`; its test images have no labels. Several radiologists read each training
image: a finding is present if most of them saw it, absent if none did, and otherwise unknown. All images are PA views.
The tables name no patients, so each image counts as one.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ml.data.boxes import Box
from ml.data.layouts.base import Dataset, Layout
from ml.data.records import DatasetInvalid, ImageRecord
from ml.data.tables import Row, add_record, first_file, header_of, read_rows, relative_path
from ml.dicom.image_layout import read_layout
from ml.dicom.parser import parse
from ml.dicom.source import open_source
from ml.errors import InputRejected
from ml.labels import LABELS

MAPPED = {
    "atelectasis": "Atelectasis",
    "cardiomegaly": "Cardiomegaly",
    "consolidation": "Consolidation",
    "edema": "Edema",
    "emphysema": "Emphysema",
    "infiltration": "Infiltration",
    "pleural effusion": "Effusion",
    "pleural thickening": "Pleural_Thickening",
    "pneumonia": "Pneumonia",
    "pneumothorax": "Pneumothorax",
    "pulmonary fibrosis": "Fibrosis",
}
NODULE_OR_MASS = "nodule/mass"
_TWO_LABELS = frozenset({"Nodule", "Mass"})
_NO_FINDING = "no finding"
_GLOBAL = frozenset({"pneumonia"})
"""Read for the image as a whole, so never boxed: a table of boxes alone says nothing of it."""

_ONLY_PHYSIONET = frozenset({"edema", "emphysema"})
"""Boxed at PhysioNet; the challenge left these out."""

_BOX = ("image_id", "class_name", "x_min", "y_min", "x_max", "y_max")

Votes = dict[str, dict[str, set[str]]]
"""{image: {reader: findings}}."""


def _box_tables(root: Path) -> dict[str, Path]:
    """Tables of boxes by part; "" for the challenge's, which has no parts."""
    places = {part: (f"annotations/annotations_{part}.csv", f"annotations_{part}.csv") for part in ("train", "test")}
    found = {part: first_file(root, names) for part, names in (*places.items(), ("", ("train.csv",)))}
    return {part: path for part, path in found.items() if path and set(_BOX) <= header_of(path)}


def _label_tables(root: Path) -> dict[str, Path]:
    places = {part: (f"annotations/image_labels_{part}.csv", f"image_labels_{part}.csv") for part in ("train", "test")}
    found = {part: first_file(root, names) for part, names in places.items()}
    return {part: path for part, path in found.items() if path and "image_id" in header_of(path)}


def _find(root: Path) -> Path | None:
    return next(iter((_label_tables(root) | _box_tables(root)).values()), None)


def _read(root: Path) -> Dataset:
    dataset, labelled, boxed = Dataset({}), _label_tables(root), _box_tables(root)
    parts = labelled.keys() | (boxed.keys() - {""}) or {""}
    for part in sorted(parts, reverse=True):
        path = labelled.get(part) or boxed[part]
        votes, known, lines = (_columns if part in labelled else _boxes_as_votes)(path)
        for image, readers in votes.items():
            name = relative_path(f"{path.name} line {lines[image]}", f"{part or 'train'}/{image}.dicom")
            findings, unknown, others = _majority(list(readers.values()), known)
            # One of the two parts alone has nothing that it could be divided from.
            value = part if len(parts) > 1 or part == "test" else ""
            add_record(
                dataset.records,
                ImageRecord(
                    name, image, findings, None, "", "PA", unknown, value, lines[image], others, path.name
                ),
            )  # fmt: skip
    return dataset


def _columns(path: Path) -> tuple[Votes, frozenset[str], dict[str, int]]:
    """Votes, the findings that the table knows, and the first line of each image, of a table of image labels."""
    votes: Votes = defaultdict(dict)
    lines: dict[str, int] = {}
    names: dict[str, str] = {}
    for line, row in read_rows(path, ("image_id",)):
        names = names or {column: column.casefold() for column in row if column not in ("image_id", "rad_id")}
        lines.setdefault(row["image_id"], line)
        seen = {name for column, name in names.items() if _is_one(f"{path.name} line {line}", column, row)}
        votes[row["image_id"]].setdefault(row.get("rad_id", ""), set()).update(seen)
    return votes, frozenset(names.values()), lines


def _is_one(where: str, column: str, row: Row) -> bool:
    if row[column] not in ("0", "1", "0.0", "1.0", ""):
        raise DatasetInvalid(f"{where}: {column} is {row[column]!r}, not 0 or 1. Use the published table, unchanged.")
    return row[column] in ("1", "1.0")


def _boxes_as_votes(path: Path) -> tuple[Votes, frozenset[str], dict[str, int]]:
    """As `_columns`, of a table of boxes: a reader who drew a box saw the finding."""
    votes: Votes = defaultdict(dict)
    lines: dict[str, int] = {}
    for line, row in read_rows(path, _BOX):
        lines.setdefault(row["image_id"], line)
        votes[row["image_id"]].setdefault(row.get("rad_id", ""), set()).add(row["class_name"].casefold())
    known = frozenset(MAPPED) - _GLOBAL | {NODULE_OR_MASS}
    return votes, known - _ONLY_PHYSIONET if path.name.startswith("train.csv") else known, lines


def _majority(
    readers: Sequence[set[str]], known: frozenset[str]
) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """Findings, unknown NIH labels and other findings by the votes of the readers."""
    votes = {name: sum(name in seen for seen in readers) for name in known.union(*readers)}
    most = {name for name, count in votes.items() if 2 * count > len(readers)}
    split = {name for name, count in votes.items() if 0 < 2 * count <= len(readers)}
    findings = frozenset(label for name, label in MAPPED.items() if name in most)
    unknown = {label for name, label in MAPPED.items() if name in split or name not in known}
    unknown |= set(LABELS) - set(MAPPED.values()) - _TWO_LABELS
    if votes.get(NODULE_OR_MASS, 1):
        # Which of the two it is, the table does not say; where no reader saw either, both are absent.
        unknown |= _TWO_LABELS
    return findings, frozenset(unknown) - findings, frozenset(most - MAPPED.keys() - {_NO_FINDING})


def read_vindr_boxes(root: Path, records: Mapping[str, ImageRecord]) -> tuple[Box, ...]:
    """The readers' boxes of findings that most of them saw, for the images that are there.

    Raises:
        DatasetInvalid: a box is no rectangle.
    """
    found = []
    sizes: dict[str, tuple[int, int] | None] = {}
    for name, label, where, corners in _drawn(root, records):
        if name not in sizes:
            sizes[name] = _size(root / name)
        size = sizes[name]
        if size is not None:
            x, y, right, bottom = corners
            if not (0 <= x < right and 0 <= y < bottom):
                raise DatasetInvalid(f"{where}: the box is no rectangle. Correct the line.")
            found.append(Box(name, label, x, y, right - x, bottom - y, *size))
    return tuple(found)


def _drawn(
    root: Path, records: Mapping[str, ImageRecord]
) -> Iterator[tuple[str, str, str, tuple[float, float, float, float]]]:
    for part, path in _box_tables(root).items():
        for line, row in read_rows(path, _BOX):
            name, label = f"{part or 'train'}/{row['image_id']}.dicom", MAPPED.get(row["class_name"].casefold())
            if label is None or name not in records or label not in records[name].findings:
                continue
            where = f"{path.name} line {line}"
            try:
                x, y, right, bottom = (float(row[column]) for column in _BOX[2:])
            except ValueError:
                raise DatasetInvalid(f"{where}: a corner of the box is not a number. Correct the line.") from None
            yield name, label, where, (x, y, right, bottom)


def _size(path: Path) -> tuple[int, int] | None:
    """Rows and columns of a DICOM file, from its header; None if it is not there or not readable."""
    if not path.is_file():
        return None
    try:
        buffer, kind = open_source(path)
        layout = read_layout(parse(buffer)) if kind == "dicom" else None
    except InputRejected:
        return None
    return (layout.rows, layout.columns) if layout else None


VINDR = Layout(
    kind="vindr",
    title="VinDr-CXR",
    source="VinDr-CXR (Vingroup; Nguyen et al. 2022)",
    looked_for="annotations/image_labels_train.csv or train.csv with columns image_id and class_name (VinDr-CXR)",
    find=_find,
    read=_read,
    truth="read by radiologists, by their majority",
    boxes=read_vindr_boxes,
    own_split="VinDr-CXR's train and test images",
    patients="; its tables name no patients, so each film counts as one",
)

"""RSNA Pneumonia Detection Challenge 2018 (Shih et al. 2019), stage 2, as Kaggle distributes it.

`stage_2_train_labels.csv` (one line a box, or one without), `stage_2_detailed_class_info.csv`, and
`stage_2_train_images/<patientId>.dcm`. A target of 1 is Pneumonia; an image of class "Normal" has no finding at all; of
the others nothing but Pneumonia is known. `patientId` names the image, not a patient. The images are NIH's: where
RSNA's `pneumonia-challenge-dataset-mappings_2018.json` lies in the folder, patients are NIH's, so that those that a
version has seen in ChestX-ray14 are found.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from ml.data.boxes import SIDE, Box
from ml.data.layouts.base import Dataset, Layout
from ml.data.records import DatasetInvalid, ImageRecord
from ml.data.tables import Row, add_record, first_file, read_rows, relative_path
from ml.labels import LABELS

TABLE = "stage_2_train_labels.csv"
CLASSES = "stage_2_detailed_class_info.csv"
MAPPINGS = "pneumonia-challenge-dataset-mappings_2018.json"
FINDING = "Pneumonia"

_NORMAL, _OPACITY, _NOT_NORMAL = "Normal", "Lung Opacity", "No Lung Opacity / Not Normal"
_COLUMNS = ("patientId", "x", "y", "width", "height", "Target")


def _find(root: Path) -> Path | None:
    return first_file(root, (TABLE,))


def _rows(root: Path) -> tuple[Path, list[tuple[int, Row]]]:
    path = _find(root)
    assert path is not None
    rows = list(read_rows(path, _COLUMNS))
    for line, row in rows:
        if row["Target"] not in ("0", "1"):
            raise DatasetInvalid(f"{path.name} line {line}: Target is {row['Target']!r}, not 0 or 1.")
    return path, rows


def _name(image: str) -> str:
    return f"stage_2_train_images/{image}.dcm"


def _read(root: Path) -> Dataset:
    path, rows = _rows(root)
    positive = {row["patientId"] for _, row in rows if row["Target"] == "1"}
    classes, patients, dataset = _classes(root), nih_patients(root), Dataset({})
    lines: dict[str, int] = {}
    for line, row in rows:
        lines.setdefault(row["patientId"], line)
    for image, line in lines.items():
        found = image in positive
        kind = classes.get(image, "")
        normal = kind == _NORMAL and not found
        add_record(
            dataset.records,
            ImageRecord(
                relative_path(f"{path.name} line {line}", _name(image)),
                patients.get(image, image),
                frozenset({FINDING} if found else ()),
                None,
                "",
                "",
                frozenset() if normal else frozenset(LABELS) - {FINDING},
                "",
                line,
                frozenset({kind} if kind == _NOT_NORMAL else ()),
                path.name,
            ),
        )
    return dataset


def _classes(root: Path) -> dict[str, str]:
    path = first_file(root, (CLASSES,))
    if path is None:
        raise DatasetInvalid(f"No {CLASSES} in {root}. Put it beside {TABLE}: it says which films are normal.")
    classes: dict[str, str] = {}
    for line, row in read_rows(path, ("patientId", "class")):
        if row["class"] not in (_NORMAL, _OPACITY, _NOT_NORMAL):
            raise DatasetInvalid(f"{path.name} line {line}: class is {row['class']!r}. Use the published table.")
        classes[row["patientId"]] = row["class"]
    return classes


def nih_patients(root: Path) -> dict[str, str]:
    """NIH's patient of each image, as in its own table; none without RSNA's mappings. Raises DatasetInvalid."""
    path = root / MAPPINGS
    if not path.is_file():
        return {}
    try:
        return {
            entry["subset_img_id"]: entry["img_id"].partition("_")[0].lstrip("0")
            for entry in json.loads(path.read_text(encoding="utf-8-sig"))
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DatasetInvalid(f"{MAPPINGS} is not RSNA's list of mappings. Download it again, or remove it.") from error


def read_rsna_boxes(root: Path, records: Mapping[str, ImageRecord]) -> tuple[Box, ...]:
    """The boxes of opacities, on images of 1024 x 1024 pixels. Raises DatasetInvalid."""
    path, rows = _rows(root)
    found = []
    for line, row in rows:
        if row["Target"] == "0" or _name(row["patientId"]) not in records:
            continue
        try:
            x, y, width, height = (float(row[column]) for column in _COLUMNS[1:5])
        except ValueError:
            raise DatasetInvalid(f"{path.name} line {line}: a number of the box is missing. Correct it.") from None
        if not (0 <= x < x + width <= SIDE and 0 <= y < y + height <= SIDE):
            raise DatasetInvalid(f"{path.name} line {line}: the box is not on the film of {SIDE} x {SIDE} pixels.")
        found.append(Box(_name(row["patientId"]), FINDING, x, y, width, height))
    return tuple(found)


RSNA = Layout(
    kind="rsna",
    title="RSNA Pneumonia Detection Challenge",
    source="RSNA Pneumonia Detection Challenge 2018 (films of ChestX-ray14; Shih et al. 2019)",
    looked_for=f"{TABLE} (RSNA Pneumonia Detection Challenge)",
    find=_find,
    read=_read,
    truth="read by radiologists",
    boxes=read_rsna_boxes,
    patients=f"; without {MAPPINGS} each film counts as one patient",
    identifiers=lambda root: "nih" if (root / MAPPINGS).is_file() else "rsna",
)

"""Read rows of the ChestX-ray14 table (NIH Clinical Center, Wang et al. 2017).

Both releases are read, and exports of reviewed studies, which have a column more for findings without a verdict. The
older release splits the headings in brackets at their commas, and writes some ages as "060Y".
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from ml.data.layouts.base import Dataset, Layout
from ml.data.records import DatasetInvalid, ImageRecord
from ml.data.tables import first_file, images_in_folders, parse_table
from ml.labels import LABELS, NO_FINDING

TABLES = ("Data_Entry_2017.csv", "Data_Entry_2017_v2020.csv")

_COLUMNS = {
    "image": ("Image Index",),
    "findings": ("Finding Labels",),
    "patient": ("Patient ID",),
    "age": ("Patient Age",),
    "sex": ("Patient Gender", "Patient Sex"),
    "view": ("View Position",),
}
_UNKNOWN = "Unknown Labels"
"""A column of ours, in exports of reviewed studies: findings of which nothing is known, joined by "|"."""


def nih_columns(path: Path, header: Sequence[str]) -> dict[str, int]:
    """Index of each column.

    Raises:
        DatasetInvalid: the table has other columns.
    """
    names = {name.strip(): index for index, name in enumerate(header)}
    found = {}
    for key, options in _COLUMNS.items():
        index = next((names[o] for o in options if o in names), None)
        if index is None:
            raise DatasetInvalid(f"{path.name} line 1: no column {options[0]!r}. Use the NIH Data_Entry table.")
        found[key] = index
    if _UNKNOWN in names:
        found["unknown"] = names[_UNKNOWN]
    return found


def nih_record(path: Path, line: int, row: Sequence[str], columns: dict[str, int]) -> ImageRecord:
    """Parse one row.

    Raises:
        DatasetInvalid: the row is incomplete or has an unknown finding. The message names the line.
    """
    if len(row) <= max(columns.values()):
        raise DatasetInvalid(
            f"{path.name} line {line}: {len(row)} fields only. The file is cut off; download it again."
        )
    value = {key: row[index].strip() for key, index in columns.items()}
    findings = frozenset(value["findings"].split("|")) - {NO_FINDING}
    not_known = frozenset(filter(None, value.get("unknown", "").split("|")))
    unknown = (findings | not_known) - set(LABELS)
    if unknown or not value["image"] or not value["patient"]:
        what = f"unknown finding {sorted(unknown)[0]!r}" if unknown else "image or patient is empty"
        raise DatasetInvalid(f"{path.name} line {line}: {what}. Correct the line; findings are joined by '|'.")
    digits = value["age"].rstrip("YyMmDd ")
    # The published table has ages such as 412, which are typing errors.
    age = int(digits) if digits.isdecimal() and int(digits) <= 120 else None
    if value["age"][-1:].upper() in ("M", "D"):
        age = 0
    patient = value["patient"].lstrip("0") or "0"
    return ImageRecord(
        value["image"],
        patient,
        findings,
        age,
        value["sex"],
        value["view"],
        not_known,
        line=line,
        table=path.name,
    )


def read_nih_table(path: Path) -> dict[str, ImageRecord]:
    """Either release of the table. Raises DatasetInvalid."""
    return parse_table(path, nih_columns, nih_record)


def _find(root: Path) -> Path | None:
    return first_file(root, TABLES)


def _read(root: Path) -> Dataset:
    path = _find(root)
    assert path is not None
    return Dataset(read_nih_table(path))


def _images(root: Path, names: Iterable[str]) -> dict[str, Path]:
    numbered = sorted(root.glob("images_[0-9]*"))
    return images_in_folders(root, (root / "images", *(folder / "images" for folder in numbered), *numbered), names)


NIH = Layout(
    kind="nih",
    title="NIH ChestX-ray14",
    source="films in the ChestX-ray14 layout (NIH Clinical Center; Wang et al. 2017)",
    looked_for="Data_Entry_2017.csv or Data_Entry_2017_v2020.csv (the NIH table)",
    find=_find,
    read=_read,
    images=_images,
    place="under images/ or images_0xx/images/",
)

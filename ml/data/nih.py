"""Read rows of the ChestX-ray14 table (NIH Clinical Center, Wang et al. 2017).

Both releases are read. The older one splits the headings in brackets at their commas, and writes some ages as "060Y".
"""

from collections.abc import Sequence
from pathlib import Path

from ml.data.records import DatasetInvalid, ImageRecord
from ml.labels import LABELS, NO_FINDING

TABLES = ("Data_Entry_2017.csv", "Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv.gz", "Data_Entry_2017_v2020.csv.gz")

_COLUMNS = {
    "image": ("Image Index",),
    "findings": ("Finding Labels",),
    "patient": ("Patient ID",),
    "age": ("Patient Age",),
    "sex": ("Patient Gender", "Patient Sex"),
    "view": ("View Position",),
}


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
    unknown = findings - set(LABELS)
    if unknown or not value["image"] or not value["patient"]:
        what = f"unknown finding {sorted(unknown)[0]!r}" if unknown else "image or patient is empty"
        raise DatasetInvalid(f"{path.name} line {line}: {what}. Correct the line; findings are joined by '|'.")
    digits = value["age"].rstrip("YyMmDd ")
    # The published table has ages such as 412, which are typing errors.
    age = int(digits) if digits.isdecimal() and int(digits) <= 120 else None
    if value["age"][-1:].upper() in ("M", "D"):
        age = 0
    patient = value["patient"].lstrip("0") or "0"
    return ImageRecord(value["image"], patient, findings, age, value["sex"], value["view"], line=line)

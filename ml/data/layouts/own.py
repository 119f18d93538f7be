"""Read rows of a user's own data set: a folder with a `labels.csv`.

Columns, in any order and case: `image` (path of a PNG, JPEG or DICOM file, relative to the folder), `patient`, and
either `labels` (findings joined by "|", "No Finding" for none) or one column of 0 and 1 per NIH label. A label without
a column, and an empty cell, are unknown; they are left out of loss and figures. Optional columns: `split` (train,
validation or test), `age` (years), `sex` (M, F), `view` (PA, AP). Any other column is an error, so that none is
ignored by mistake.
"""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path

from ml.data.layouts.base import Dataset, Layout
from ml.data.records import DatasetInvalid, ImageRecord
from ml.data.tables import add_record, csv_lines, first_file, parse_table, relative_path
from ml.labels import LABELS, NO_FINDING

TABLES = ("labels.csv",)
PARTS = ("train", "validation", "test")

_OPTIONAL = ("split", "age", "sex", "view")
_CHOICES = {"split": PARTS, "sex": ("M", "F"), "view": ("PA", "AP")}


def _key(name: str) -> str:
    return "_".join(name.split()).casefold()


_NAMES = {_key(name): name for name in ("image", "patient", "labels", *_OPTIONAL, *LABELS)}
_FINDINGS = {_key(name): name for name in (*LABELS, NO_FINDING)}


def own_columns(path: Path, header: Sequence[str]) -> dict[str, int]:
    """Index of each column.

    Raises:
        DatasetInvalid: a column is missing, unknown or duplicate.
    """
    found: dict[str, int] = {}
    for index, title in enumerate(header):
        name = _NAMES.get(_key(title))
        if name is None and not title.strip():
            continue
        if name is None:
            close = get_close_matches(_key(title), _NAMES, 1)
            hint = f" Is it {_NAMES[close[0]]!r}?" if close else ""
            raise DatasetInvalid(
                f"{path.name} line 1: column {title.strip()!r} is neither an NIH label nor one of image, patient, "
                f"labels, {', '.join(_OPTIONAL)}.{hint} Rename or remove it."
            )
        if name in found:
            raise DatasetInvalid(f"{path.name} line 1: column {name!r} appears twice. Remove one.")
        found[name] = index
    for name in ("image", "patient"):
        if name not in found:
            raise DatasetInvalid(f"{path.name} line 1: no column {name!r}. Add it; columns are separated by commas.")
    if ("labels" in found) == any(label in found for label in LABELS):
        raise DatasetInvalid(
            f"{path.name} line 1: the truth must stand either in one column 'labels' or in columns named after the "
            f"NIH labels ({LABELS[0]}, {LABELS[1]}, ...), and not in both. Correct the header."
        )
    return found


def own_record(path: Path, line: int, row: Sequence[str], columns: dict[str, int]) -> ImageRecord:
    """Parse one row.

    Raises:
        DatasetInvalid: a cell has no allowed value. The message names the line.
    """
    where = f"{path.name} line {line}"
    if len(row) <= max(columns.values()):
        raise DatasetInvalid(f"{where}: {len(row)} fields only. Give every column a value or leave it empty.")
    value = {name: row[index].strip() for name, index in columns.items()}
    if not value["patient"]:
        raise DatasetInvalid(f"{where}: patient is empty. Films are divided by patient, so each needs one.")
    for name, choices in _CHOICES.items():
        if name in value:
            value[name] = _chosen(where, name, value[name], choices)
    findings, unknown = _joined(where, value["labels"]) if "labels" in value else _cells(where, value)
    return ImageRecord(
        relative_path(where, value["image"]),
        value["patient"],
        findings,
        _age(where, value.get("age", "")),
        value.get("sex", ""),
        value.get("view", ""),
        unknown,
        value.get("split", ""),
        line,
        table=path.name,
    )


def _chosen(where: str, name: str, value: str, choices: Sequence[str]) -> str:
    known = {choice.casefold(): choice for choice in choices} | ({} if name == "split" else {"": ""})
    if value.casefold() not in known:
        empty = "" if name == "split" else ", or leave the cell empty"
        raise DatasetInvalid(f"{where}: {name} is {value!r}. Write {' or '.join(choices)}{empty}.")
    return known[value.casefold()]


def _age(where: str, value: str) -> int | None:
    if not value:
        return None
    if not value.isdecimal() or int(value) > 120:
        raise DatasetInvalid(f"{where}: age is {value!r}. Write whole years from 0 to 120, or leave the cell empty.")
    return int(value)


def _joined(where: str, text: str) -> tuple[frozenset[str], frozenset[str]]:
    """Findings and unknown labels of a cell such as "Effusion|Mass"; with an empty cell every label is unknown."""
    if not text:
        return frozenset(), frozenset(LABELS)
    given = [part.strip() for part in text.split("|")]
    for part in given:
        if _key(part) not in _FINDINGS:
            close = get_close_matches(_key(part), _FINDINGS, 1)
            hint = f" Is it {_FINDINGS[close[0]]!r}?" if close else ""
            raise DatasetInvalid(f"{where}: {part!r} is no NIH label.{hint} Correct it; findings are joined by '|'.")
    findings = frozenset(_FINDINGS[_key(part)] for part in given)
    if NO_FINDING in findings and len(findings) > 1:
        raise DatasetInvalid(f"{where}: {NO_FINDING!r} stands beside a finding. Remove one of them.")
    return findings - {NO_FINDING}, frozenset()


def _cells(where: str, value: dict[str, str]) -> tuple[frozenset[str], frozenset[str]]:
    findings, unknown = set(), set()
    for label in LABELS:
        cell = value.get(label, "")
        if cell in ("1", "1.0"):
            findings.add(label)
        elif not cell:
            unknown.add(label)
        elif cell not in ("0", "0.0"):
            raise DatasetInvalid(f"{where}: {label} is {cell!r}. Write 0 or 1, or leave the cell empty if unknown.")
    return frozenset(findings), frozenset(unknown)


def read_own_table(path: Path) -> dict[str, ImageRecord]:
    """A labels.csv. Raises DatasetInvalid."""
    return parse_table(path, own_columns, own_record)


def own_problems(path: Path) -> Iterator[str]:
    """What is wrong with a labels.csv, a line each; `read_own_table` stops at the first."""
    records: dict[str, ImageRecord] = {}
    try:
        lines = csv_lines(path)
        columns = own_columns(path, next(lines)[1])
        for line, row in lines:
            try:
                add_record(records, own_record(path, line, row, columns))
            except DatasetInvalid as error:
                yield str(error)
    except DatasetInvalid as error:
        yield str(error)


def _find(root: Path) -> Path | None:
    return first_file(root, TABLES)


def _read(root: Path) -> Dataset:
    path = _find(root)
    assert path is not None
    return Dataset(read_own_table(path))


OWN = Layout(
    kind="own",
    title="labels.csv",
    source="the operator's own films (labels.csv)",
    looked_for="labels.csv (one's own films)",
    find=_find,
    read=_read,
    truth="given by the operator",
    own_split="the split column of labels.csv",
    inside_only=True,
)

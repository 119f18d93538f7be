"""Find and read the table and the lists of a folder, and find the image files that they name."""

import csv
import gzip
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TextIO

from ml.data import nih, own
from ml.data.records import DatasetInvalid, ImageRecord

TABLES = (*nih.TABLES, *own.TABLES)


def find_table(root: Path) -> Path:
    """The table of a folder: NIH's Data_Entry if there is one, else labels.csv.

    Raises:
        DatasetInvalid: the folder has neither.
    """
    for name in TABLES:
        if (root / name).is_file():
            return root / name
    what = "no " if root.is_dir() else "no such folder, so no "
    raise DatasetInvalid(
        f"{root}: {what}{nih.TABLES[0]} and no {own.TABLES[0]} here. Put the NIH table beside the images folder, or "
        f"your own films with a {own.TABLES[0]}."
    )


def has_own_table(root: Path) -> bool:
    """Whether the folder's table is a labels.csv and not NIH's. Raises DatasetInvalid where it has none."""
    return find_table(root).name in own.TABLES


def open_text(path: Path) -> TextIO:
    """Open a table as text, gzipped or not, without its byte order mark."""
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def read_table(path: Path) -> dict[str, ImageRecord]:
    """Read NIH's table (either release) or a labels.csv into {image: ImageRecord}.

    Raises:
        DatasetInvalid: other columns, an unknown label, a short line or a duplicate. The message names the line.
    """
    find_columns, parse_row = (
        (own.own_columns, own.own_record) if path.name in own.TABLES else (nih.nih_columns, nih.nih_record)
    )
    records: dict[str, ImageRecord] = {}
    try:
        with open_text(path) as stream:
            reader = csv.reader(stream)
            columns = find_columns(path, next(reader, []))
            for row in reader:
                if not any(row):
                    continue
                record = parse_row(path, reader.line_num, row, columns)
                if record.image in records:
                    raise DatasetInvalid(
                        f"{path.name} line {record.line}: {record.image} appears twice, first on line "
                        f"{records[record.image].line}. Remove one of the lines."
                    )
                records[record.image] = record
    except (UnicodeDecodeError, csv.Error, OSError, EOFError) as error:
        raise DatasetInvalid(
            f"{path.name} is not a readable CSV file: {error}. Save it as UTF-8, or copy it again."
        ) from error
    if not records:
        raise DatasetInvalid(f"{path.name} has no films. Copy it again.")
    return records


def read_list(path: Path, records: dict[str, ImageRecord]) -> tuple[str, ...]:
    """Read a list of image names, one per line.

    Raises:
        DatasetInvalid: the file is missing, or a name is unknown or duplicate.
    """
    if not path.is_file():
        raise DatasetInvalid(f"No {path.name} in {path.parent}. Put the list there: image names, one a line.")
    names: dict[str, int] = {}
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (UnicodeDecodeError, OSError) as error:
        raise DatasetInvalid(f"{path.name} is not a readable text file: {error}. Copy it again.") from error
    for line, raw in enumerate(lines, start=1):
        name = raw.strip()
        if not name:
            continue
        if name not in records:
            raise DatasetInvalid(
                f"{path.name} line {line}: {name} is not in the table. Use the lists of the same release."
            )
        if name in names:
            raise DatasetInvalid(f"{path.name} line {line}: {name} was on line {names[name]} already. Remove one.")
        names[name] = line
    if not names:
        raise DatasetInvalid(f"{path.name} is empty. Copy it again.")
    return tuple(names)


def find_images(root: Path, names: Iterable[str]) -> dict[str, Path]:
    """Find image files: in `images/` or `images_0xx/[images/]` (NIH), or at their path in the folder (labels.csv).

    Raises:
        DatasetInvalid: files are missing. The message names the first one and its line in the table.
    """
    wanted = list(names)
    present = _own_images(root, wanted) if has_own_table(root) else _nih_images(root, set(wanted))
    missing = [name for name in wanted if name not in present]
    if missing:
        place = "in the folder" if has_own_table(root) else "under images/ or images_0xx/images/"
        first = f"{missing[0]} ({table_line(root, missing[0])})"
        raise DatasetInvalid(
            f"{len(missing)} of {len(wanted)} films are not {place}, first {first}. Unpack all image archives there."
        )
    return {name: present[name] for name in wanted}


def images_present(root: Path, names: Sequence[str]) -> int:
    """Number of images whose file is present. Raises DatasetInvalid where the folder has no table."""
    return len(_own_images(root, names) if has_own_table(root) else _nih_images(root, set(names)))


def table_line(root: Path, name: str) -> str:
    """Table and line of an image, for messages."""
    table = find_table(root)
    record = read_table(table).get(name)
    return f"{table.name} line {record.line}" if record else f"not in {table.name}"


def _nih_images(root: Path, wanted: set[str]) -> dict[str, Path]:
    present: dict[str, Path] = {}
    numbered = sorted(root.glob("images_[0-9]*"))
    for folder in (root / "images", *(folder / "images" for folder in numbered), *numbered):
        if not folder.is_dir():
            continue
        with os.scandir(folder) as entries:
            found = [Path(entry.path) for entry in entries if entry.name in wanted and entry.is_file()]
        for path in found:
            other = present.setdefault(path.name, path)
            if other != path and not other.samefile(path):
                raise DatasetInvalid(
                    f"{path.name} is in both {other.parent.relative_to(root)} and {folder.relative_to(root)}. "
                    "Remove one of the files."
                )
    return present


def _own_images(root: Path, wanted: Iterable[str]) -> dict[str, Path]:
    present, inside = {}, root.resolve()
    for name in wanted:
        path = root / name
        if path.is_file():
            if not path.resolve().is_relative_to(inside):
                raise DatasetInvalid(
                    f"{name} ({table_line(root, name)}) is a link to outside the folder. Copy the file into it."
                )
            present[name] = path
    return present

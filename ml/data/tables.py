"""Read the CSV tables and the lists of names of a data set, and find image files by name."""

import csv
import gzip
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TextIO

from ml.data.records import DatasetInvalid, ImageRecord

Row = Mapping[str, str]


def open_text(path: Path) -> TextIO:
    """Open a table as text, gzipped or not, without its byte order mark."""
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def first_file(root: Path, names: Iterable[str]) -> Path | None:
    """The first of the named files that the folder has, plain or gzipped."""
    candidates = (root / each for name in names for each in (name, f"{name}.gz"))
    return next((path for path in candidates if path.is_file()), None)


def header_of(path: Path | None) -> frozenset[str]:
    """The column names of a table; none if there is no table, or if it can't be read."""
    if path is None:
        return frozenset()
    try:
        with open_text(path) as stream:
            return frozenset(name.strip() for name in next(csv.reader(stream), []))
    except (UnicodeDecodeError, csv.Error, OSError, EOFError, zlib.error):
        return frozenset()


def csv_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The lines of a table that are not empty, with their numbers; the first is the header.

    Raises:
        DatasetInvalid: the file is not a readable CSV file.
    """
    try:
        with open_text(path) as stream:
            reader = csv.reader(stream)
            yield 1, next(reader, [])
            for row in reader:
                if any(row):
                    yield reader.line_num, row
    except (UnicodeDecodeError, csv.Error, OSError, EOFError, zlib.error) as error:
        raise DatasetInvalid(
            f"{path.name} is not a readable CSV file: {error}. Save it as UTF-8, or copy it again."
        ) from error


def read_rows(path: Path, needed: Iterable[str]) -> Iterator[tuple[int, Row]]:
    """The lines of a table as {column: value without spaces around it}, with their numbers.

    Raises:
        DatasetInvalid: the file is unreadable, a column of `needed` is missing, or a line is short.
    """
    lines = csv_lines(path)
    names = [name.strip() for name in next(lines)[1]]
    for name in needed:
        if name not in names:
            raise DatasetInvalid(f"{path.name} line 1: no column {name!r}. Use the published table, unchanged.")
    for line, row in lines:
        if len(row) < len(names):
            raise DatasetInvalid(
                f"{path.name} line {line}: {len(row)} fields only. The file is cut off; copy it again."
            )
        yield line, {name: value.strip() for name, value in zip(names, row, strict=False)}


def add_record(records: dict[str, ImageRecord], record: ImageRecord) -> None:
    """Add a record. Raises DatasetInvalid where its image is there already."""
    first = records.setdefault(record.image, record)
    if first is not record:
        raise DatasetInvalid(
            f"{record.table} line {record.line}: {record.image} appears twice, first on line {first.line}. "
            "Remove one of the lines."
        )


def parse_table(
    path: Path,
    find_columns: Callable[[Path, Sequence[str]], dict[str, int]],
    parse_row: Callable[[Path, int, Sequence[str], dict[str, int]], ImageRecord],
) -> dict[str, ImageRecord]:
    """Read a table of one image a line into {image: ImageRecord}.

    Raises:
        DatasetInvalid: other columns, an unknown label, a short line or a duplicate. The message names the line.
    """
    records: dict[str, ImageRecord] = {}
    lines = csv_lines(path)
    columns = find_columns(path, next(lines)[1])
    for line, row in lines:
        add_record(records, parse_row(path, line, row, columns))
    if not records:
        raise DatasetInvalid(f"{path.name} has no films. Copy it again.")
    return records


def relative_path(where: str, text: str) -> str:
    """A path of a table, normalised. Raises DatasetInvalid where it leads out of the folder."""
    path = PurePosixPath(text)
    if not text or path.is_absolute() or ".." in path.parts or "\\" in text:
        raise DatasetInvalid(
            f"{where}: image {text!r} is not a path inside the folder. Write it relative to the folder, with '/'."
        )
    return str(path)


def read_list(path: Path, records: Mapping[str, ImageRecord]) -> tuple[str, ...]:
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


def images_by_path(root: Path, names: Iterable[str]) -> dict[str, Path]:
    """The images that are present, where the name is a path relative to the folder."""
    return {name: path for name in names if (path := root / name).is_file()}


def images_in_folders(root: Path, folders: Iterable[Path], names: Iterable[str]) -> dict[str, Path]:
    """The images that are present in any of the folders, where the name is a file name.

    Raises:
        DatasetInvalid: two folders have different files of one name.
    """
    wanted, present = set(names), dict[str, Path]()
    for folder in folders:
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

"""The NIH ChestX-ray14 layout: tables, official lists, patient-wise validation, and a memory-mapped film cache.

Layout: `images/*.png` or `images_001/images/*.png` ..., `Data_Entry_2017.csv` (or `Data_Entry_2017_v2020.csv`, either
gzipped), `train_val_list.txt`, `test_list.txt`. Both vintages of the table are read: the older one splits the
bracketed headings at their commas and writes some ages as "060Y". Source: NIH Clinical Center, Wang et al. 2017.
"""

import csv
import gzip
import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ml.labels import LABELS, NO_FINDING
from ml.radiograph import read_radiograph
from ml.transforms import InputSpace, to_square

TABLES = ("Data_Entry_2017.csv", "Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv.gz", "Data_Entry_2017_v2020.csv.gz")


class DatasetInvalid(Exception):
    """The folder is not a usable ChestX-ray14 layout. The message names file, line and remedy."""


@dataclass(frozen=True)
class Film:
    """One row of the table. `age` in years, None when the table has nonsense; `view` is "PA" or "AP"."""

    image: str
    patient: str
    findings: frozenset[str]
    age: int | None
    sex: str
    view: str


@dataclass(frozen=True)
class Split:
    """Film names of each part; `sha256` identifies the lists themselves, for the card."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    sha256: str


def find_table(root: Path) -> Path:
    """The table of a layout. Raises DatasetInvalid."""
    for name in TABLES:
        if (root / name).is_file():
            return root / name
    raise DatasetInvalid(f"{root.name}: no {TABLES[0]} here. Put the NIH table beside the images folder.")


def _open(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def read_table(path: Path) -> dict[str, Film]:
    """Read either vintage of the table into {image name: Film}.

    Raises DatasetInvalid, naming the line, for missing columns, unknown findings, short lines and duplicates.
    """
    films: dict[str, Film] = {}
    try:
        with _open(path) as stream:
            reader = csv.reader(stream)
            columns = _columns(path, next(reader, []))
            for row in reader:
                if not row:
                    continue
                film = _film(path, reader.line_num, row, columns)
                if film.image in films:
                    raise DatasetInvalid(
                        f"{path.name} line {reader.line_num}: {film.image} appears twice. Remove one of the lines."
                    )
                films[film.image] = film
    except (UnicodeDecodeError, csv.Error, OSError, EOFError) as error:
        raise DatasetInvalid(f"{path.name} is not a readable CSV file: {error}. Download it again.") from error
    if not films:
        raise DatasetInvalid(f"{path.name} has no films. Download it again.")
    return films


def _columns(path: Path, header: Sequence[str]) -> dict[str, int]:
    names = {name.strip(): index for index, name in enumerate(header)}
    wanted = {
        "image": ("Image Index",),
        "findings": ("Finding Labels",),
        "patient": ("Patient ID",),
        "age": ("Patient Age",),
        "sex": ("Patient Gender", "Patient Sex"),
        "view": ("View Position",),
    }
    found = {}
    for key, options in wanted.items():
        index = next((names[o] for o in options if o in names), None)
        if index is None:
            raise DatasetInvalid(f"{path.name} line 1: no column {options[0]!r}. Use the NIH Data_Entry table.")
        found[key] = index
    return found


def _film(path: Path, line: int, row: Sequence[str], columns: dict[str, int]) -> Film:
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
    # The table has ages such as 412; they are typing errors of the source, not of the copy.
    age = int(digits) if digits.isdigit() and int(digits) <= 120 else None
    if value["age"][-1:].upper() in ("M", "D"):
        age = 0
    return Film(value["image"], value["patient"].lstrip("0") or "0", findings, age, value["sex"], value["view"])


def read_list(path: Path, films: dict[str, Film]) -> tuple[str, ...]:
    """Read a list of image names, one a line. Raises DatasetInvalid for absent files, unknown names, duplicates."""
    if not path.is_file():
        raise DatasetInvalid(f"No {path.name}. Put NIH's lists beside the table.")
    names: dict[str, int] = {}
    for line, raw in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        name = raw.strip()
        if not name:
            continue
        if name not in films:
            raise DatasetInvalid(
                f"{path.name} line {line}: {name} is not in the table. Use the lists of the same release."
            )
        if name in names:
            raise DatasetInvalid(f"{path.name} line {line}: {name} was on line {names[name]} already. Remove one.")
        names[name] = line
    if not names:
        raise DatasetInvalid(f"{path.name} is empty. Download it again.")
    return tuple(names)


def official_split(root: Path, films: dict[str, Film], validation: float = 0.125, seed: int = 0) -> Split:
    """The split by `train_val_list.txt` and `test_list.txt`, with validation carved from the former by patient.

    `train_list.txt` and `val_list.txt`, where present, fix the validation instead. Raises DatasetInvalid on overlap.
    """
    test = read_list(root / "test_list.txt", films)
    if (root / "train_list.txt").is_file() and (root / "val_list.txt").is_file():
        train, held = read_list(root / "train_list.txt", films), read_list(root / "val_list.txt", films)
    else:
        train, held = carve(read_list(root / "train_val_list.txt", films), films, validation, seed)
    check_disjoint({"train": train, "validation": held, "test": test}, films)
    lines = "\n".join((*train, "", *held, "", *test))
    return Split(train, held, test, hashlib.sha256(lines.encode()).hexdigest())


def patient_folds(patients: Sequence[str], count: int, seed: int = 0) -> NDArray[np.intp]:
    """Fold number 0..count-1 of each film (N,), whole patients together, deterministic by seed."""
    names = sorted(set(patients))
    if len(names) < count:
        raise DatasetInvalid(
            f"{len(names)} patients can't be divided into {count} folds. Use fewer folds or more films."
        )
    order = np.random.default_rng(seed).permutation(len(names)) % count
    fold = dict(zip(names, order, strict=True))
    return np.array([fold[p] for p in patients], dtype=np.intp)


def carve(
    names: Sequence[str], films: dict[str, Film], fraction: float, seed: int = 0
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Take about `fraction` of the patients out of a list: (rest, taken). Raises DatasetInvalid if a part is empty."""
    patients = sorted({films[name].patient for name in names})
    count = round(len(patients) * fraction)
    if not 0 < count < len(patients):
        raise DatasetInvalid(f"{len(patients)} patients leave no validation part. Use more films.")
    taken = set(np.random.default_rng(seed).permutation(patients)[:count].tolist())
    return (
        tuple(n for n in names if films[n].patient not in taken),
        tuple(n for n in names if films[n].patient in taken),
    )


def check_disjoint(parts: dict[str, Sequence[str]], films: dict[str, Film]) -> None:
    """Raise DatasetInvalid when a patient has films in two parts."""
    owner: dict[str, tuple[str, str]] = {}
    for part, names in parts.items():
        for name in names:
            other, example = owner.setdefault(films[name].patient, (part, name))
            if other != part:
                raise DatasetInvalid(
                    f"One patient is in both {other} ({example}) and {part} ({name}). "
                    "Split by patient, or the figures will be too good."
                )


def find_images(root: Path, names: Iterable[str]) -> dict[str, Path]:
    """Locate films in `images/` or `images_0xx/images/`. Raises DatasetInvalid, naming what is missing."""
    folders = [root / "images", *sorted(root.glob("images_[0-9]*/images"))]
    present = {
        entry.name: Path(entry.path)
        for folder in folders
        if folder.is_dir()
        for entry in os.scandir(folder)
        if entry.is_file()
    }
    wanted = list(names)
    missing = [name for name in wanted if name not in present]
    if missing:
        raise DatasetInvalid(
            f"{len(missing)} of {len(wanted)} films are not under images/ or images_0xx/images/, "
            f"first {missing[0]}. Unpack all image archives there."
        )
    return {name: present[name] for name in wanted}


def targets(films: dict[str, Film], names: Sequence[str]) -> NDArray[np.float32]:
    """Truth (N, 14) of 0 and 1, in the order of LABELS."""
    return np.array([[label in films[name].findings for label in LABELS] for name in names], dtype=np.float32)


def summary(films: dict[str, Film], names: Sequence[str]) -> dict[str, Any]:
    """Counts for a card: films, patients, positives per label, views, sexes."""
    chosen = [films[name] for name in names]
    count = Counter(finding for film in chosen for finding in film.findings)
    return {
        "films": len(chosen),
        "patients": len({film.patient for film in chosen}),
        "positives": {label: count[label] for label in LABELS},
        "views": dict(sorted(Counter(film.view for film in chosen).items())),
        "sexes": dict(sorted(Counter(film.sex for film in chosen).items())),
    }


def squares(root: Path, names: Sequence[str], space: InputSpace) -> Iterator[NDArray[np.uint8]]:
    """Films fitted to the square, one by one, through the same functions as serving."""
    paths = find_images(root, names)
    for name in names:
        yield to_square(read_radiograph(paths[name]).pixels, space)


def film_cache(root: Path, names: Sequence[str], space: InputSpace, cache_dir: Path) -> NDArray[np.uint8]:
    """All films as one read-only memory map, uint8 (N, size, size); decoded once, found again by content key.

    Decoding a 1024 x 1024 PNG costs 30 ms, reading a row of the map 0.03 ms. Raises DatasetInvalid, InputRejected.
    """
    paths = find_images(root, names)
    key = hashlib.sha256(repr((space, [(n, paths[n].stat().st_size) for n in names])).encode()).hexdigest()[:24]
    path = cache_dir / f"films-{space.size}-{key}.npy"
    if not path.is_file():
        cache_dir.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            store = np.lib.format.open_memmap(
                aside, mode="w+", dtype=np.uint8, shape=(len(names), space.size, space.size)
            )
            for index, square in enumerate(
                tqdm(squares(root, names, space), total=len(names), desc="Reading films", unit="film")
            ):
                store[index] = square
            store.flush()
            del store
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
    films: NDArray[np.uint8] = np.load(path, mmap_mode="r")
    return films

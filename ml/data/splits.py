"""Divide images into training, validation and test sets by patient."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ml.data.folder import find_layout
from ml.data.layouts.own import PARTS
from ml.data.records import CannotBeDivided, DatasetInvalid, ImageRecord, Split, targets
from ml.data.tables import read_list

OFFICIAL_SHA256 = {
    "train_val_list.txt": "61fbe896321c1c1c8b75f3e4f3a08e4fef6486d95ef8a667c31d4d60dca6cb81",
    "test_list.txt": "38ca5ef7f756092946f57c1a59faca882ed589a1ab1f72590b45dc06c6d5e1cc",
}
"""`list_sha256` of the lists that NIH publishes with the data set (86,524 and 25,596 images)."""

TEST_SHARE = 0.2


def list_sha256(names: Sequence[str]) -> str:
    """Hash of a set of image names; their order does not matter."""
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()


def read_split(
    root: Path, records: dict[str, ImageRecord], how: str = "official", validation: float = 0.125, seed: int = 0
) -> Split:
    """The split of a folder.

    Args:
        root: the folder.
        records: its table.
        how: "files" (train_list.txt, val_list.txt, test_list.txt), or "official": NIH's two lists; for other layouts
            the split that their tables define, or without one a division by patient.
        validation: share of the patients for validation, where the folder does not fix them.
        seed: for the choice of these patients.

    Raises:
        DatasetInvalid: a list is not usable, or a patient is in two subsets.
    """
    if how == "files":
        return _files_split(root, records)
    if how != "official":
        raise DatasetInvalid(f"There is no split {how!r}. Use official or files.")
    by_lists = has_lists(root)
    return (official_split if by_lists else table_split)(root, records, validation, seed)


def has_lists(root: Path) -> bool:
    """Whether the layout of the folder defines its split by lists of names, as NIH does, and not in its tables."""
    return find_layout(root).kind == "nih"


def evaluation_images(root: Path, records: dict[str, ImageRecord]) -> tuple[str, ...]:
    """The images that a folder keeps for evaluation: test_list.txt, or else the test set that its tables define.

    Raises:
        DatasetInvalid: there are none.
    """
    if not has_lists(root) and not (root / "test_list.txt").is_file():
        test = _subsets(root, records)[2]
        if not test:
            raise DatasetInvalid(
                f"{find_layout(root).title}: no film has split test. Mark some, or give a list of films."
            )
        return test
    return read_list(root / "test_list.txt", records)


def official_split(root: Path, records: dict[str, ImageRecord], validation: float = 0.125, seed: int = 0) -> Split:
    """The split by `train_val_list.txt` and `test_list.txt`; validation patients are taken from the former.

    `train_list.txt` and `val_list.txt`, where present, define the validation set instead.

    Raises:
        DatasetInvalid: a patient is in two subsets, or the lists contradict each other.
    """
    lists = {name: read_list(root / name, records) for name in OFFICIAL_SHA256}
    both, test = lists["train_val_list.txt"], lists["test_list.txt"]
    check_disjoint(lists, records, root)
    official = all(list_sha256(lists[name]) == known for name, known in OFFICIAL_SHA256.items())
    title = "NIH's official lists" if official else "the folder's train_val_list and test_list"
    if (root / "train_list.txt").is_file() and (root / "val_list.txt").is_file():
        train, held = read_list(root / "train_list.txt", records), read_list(root / "val_list.txt", records)
        odd = set(both).symmetric_difference((*train, *held))
        if odd:
            raise DatasetInvalid(
                f"train_list.txt and val_list.txt are not the films of train_val_list.txt, first {min(odd)}. "
                "Correct or remove them, or choose the split 'files'."
            )
        return _split(train, held, test, records, root, f"{title}, validation by val_list")
    train, held = carve(both, records, validation, seed)
    return _split(train, held, test, records, root, f"{title}, validation by patient")


def _files_split(root: Path, records: dict[str, ImageRecord]) -> Split:
    train, held, test = (read_list(root / f"{part}_list.txt", records) for part in ("train", "val", "test"))
    return _split(train, held, test, records, root, "the folder's train_list, val_list and test_list")


def table_split(root: Path, records: dict[str, ImageRecord], validation: float = 0.125, seed: int = 0) -> Split:
    """The split that the tables of a folder define, such as a split column, or without one by patient.

    Without one a fifth of the patients, chosen by a hash of their identifier, is the test set. It stays the same when
    images are added, and does not depend on the seed. Where no image is marked validation, that set is taken from the
    training patients.

    Raises:
        CannotBeDivided: there are too few patients.
        DatasetInvalid: a patient is in two subsets.
    """
    train, held, test, how = _subsets(root, records)
    if not train:
        title = find_layout(root).title
        raise CannotBeDivided(f"{title}: no film is left to learn from. Add films, or mark some train.")
    if not held:
        train, held = carve(train, records, validation, seed)
    return _split(train, held, test, records, root, how)


def _subsets(
    root: Path, records: dict[str, ImageRecord]
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], str]:
    """Training, validation (may be empty) and test images, and a description of how they were chosen."""
    layout = find_layout(root)
    if any(record.part for record in records.values()):
        parts = {part: tuple(n for n, record in records.items() if record.part == part) for part in PARTS}
        check_disjoint(parts, records, root)
        return parts["train"], parts["validation"], parts["test"], layout.own_split + layout.patients
    tested = {record.patient for record in records.values() if _share("test", record.patient) < TEST_SHARE}
    rest = tuple(n for n, record in records.items() if record.patient not in tested)
    test = tuple(n for n, record in records.items() if record.patient in tested)
    if not test or not rest:
        raise CannotBeDivided(f"{layout.title} has too few patients to divide. Add films, or a split column.")
    return rest, (), test, f"{layout.title}, divided by a hash of the patient{layout.patients}"


def _share(purpose: str, patient: str) -> float:
    """A number in [0, 1) that depends only on the arguments."""
    return int.from_bytes(hashlib.sha256(f"{purpose}:{patient}".encode()).digest()[:8], "big") / 2**64


def _split(
    train: tuple[str, ...],
    validation: tuple[str, ...],
    test: tuple[str, ...],
    records: dict[str, ImageRecord],
    root: Path,
    how: str,
) -> Split:
    check_disjoint({"train": train, "validation": validation, "test": test}, records, root)
    lines = "\n".join((*train, "", *validation, "", *test))
    return Split(train, validation, test, hashlib.sha256(lines.encode()).hexdigest(), how)


def patient_folds(patients: Sequence[str], count: int, seed: int = 0) -> NDArray[np.intp]:
    """Fold number 0..count-1 of each image (N,). All images of a patient are in one fold. Deterministic by seed."""
    names = sorted(set(patients))
    if len(names) < count:
        raise DatasetInvalid(
            f"{len(names)} patients can't be divided into {count} folds. Use fewer folds or more films."
        )
    order = np.random.default_rng(seed).permutation(len(names)) % count
    fold = dict(zip(names, order, strict=True))
    return np.array([fold[p] for p in patients], dtype=np.intp)


def carve(
    names: Sequence[str], records: dict[str, ImageRecord], fraction: float, seed: int = 0
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Take about `fraction` of the patients out of a list.

    Returns:
        The remaining and the taken image names.

    Raises:
        CannotBeDivided: one of the two would be empty.
    """
    patients = sorted({records[name].patient for name in names})
    count = round(len(patients) * fraction)
    if not 0 < count < len(patients):
        raise CannotBeDivided(f"{len(patients)} patients leave no validation part. Use more films.")
    taken = set(np.random.default_rng(seed).permutation(patients)[:count].tolist())
    return (
        tuple(n for n in names if records[n].patient not in taken),
        tuple(n for n in names if records[n].patient in taken),
    )


def check_disjoint(
    parts: Mapping[str, Sequence[str]], records: dict[str, ImageRecord], root: Path | None = None
) -> None:
    """Raise DatasetInvalid, with an example, where a patient has images in two subsets (lists or split values)."""
    owner: dict[str, tuple[str, str]] = {}
    for part, names in parts.items():
        for name in names:
            other, example = owner.setdefault(records[name].patient, (part, name))
            if other != part:
                raise DatasetInvalid(
                    f"One patient is in both {_place(other, example, records, root)} and "
                    f"{_place(part, name, records, root)}. Split by patient, or the figures will be too good."
                )


def _place(part: str, name: str, records: dict[str, ImageRecord], root: Path | None) -> str:
    if root is not None and (root / part).is_file():
        lines = (root / part).read_text(encoding="utf-8-sig").splitlines()
        line = next((number for number, raw in enumerate(lines, start=1) if raw.strip() == name), 0)
        return f"{part} line {line} ({name})"
    return f"{part} ({name}, line {records[name].line} of the table)"


def data_sha256(records: dict[str, ImageRecord], split: Split) -> str:
    """Hash of the data of a training: the lists with the patient and the truth of each image.

    Two machines with the same lists and different tables get different hashes.
    """
    digest = hashlib.sha256(split.sha256.encode())
    for names in (split.train, split.validation):
        digest.update("\n".join(f"{n}\t{records[n].patient}" for n in names).encode())
        digest.update(targets(records, names).tobytes())
    return digest.hexdigest()

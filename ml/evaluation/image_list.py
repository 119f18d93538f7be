"""Which films an evaluation looks at, whether the version has seen their patients, and what it says of them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ml.data import (
    DatasetInvalid,
    ImageRecord,
    cached_images,
    evaluation_images,
    find_table,
    list_sha256,
    read_list,
    read_split,
    read_table,
    targets,
)
from ml.data.provenance import lists_sha256, seen_patients, source_kind
from ml.data.splits import OFFICIAL_SHA256
from ml.labels import LABELS
from ml.model.artifact import Manifest
from ml.model.predictor import Predictor

OFFICIAL_TEST = "official test list"


class EvaluationRefused(ValueError):
    """These films must not be used to judge this version; the message says why and what to use."""


@dataclass(frozen=True, eq=False)
class ImageList:
    """The films of one list, in its order, with everything that the folder's table knows."""

    root: Path
    names: tuple[str, ...]
    table: Mapping[str, ImageRecord]
    split_id: str
    sha256: str

    @property
    def films(self) -> list[ImageRecord]:
        """One row of the table for each name."""
        return [self.table[name] for name in self.names]

    @property
    def patients(self) -> list[str]:
        """The patient of each film."""
        return [film.patient for film in self.films]

    @property
    def truth(self) -> NDArray[np.float64]:
        """(N, 14) of 0, 1 and NaN for unknown."""
        return targets(dict(self.table), self.names).astype(np.float64)


def read_image_list(data: Path, split: Path | None) -> ImageList:
    """The films of the list `split`, or without one those that the folder keeps for evaluation.

    Only NIH's own 25,596 names are called the official test list, whatever the file is called. Raises DatasetInvalid.
    """
    root = Path(data)
    table = read_table(find_table(root))
    names = read_list(Path(split), table) if split else evaluation_images(root, table)
    sha256 = list_sha256(names)
    official = sha256 == OFFICIAL_SHA256["test_list.txt"]
    file = Path(split or root / "test_list.txt")
    title = f"list {file.name}" if file.is_file() else f"test part of {find_table(root).name}"
    return ImageList(root, names, table, OFFICIAL_TEST if official else title, sha256)


def check_unseen(manifest: Manifest, listed: ImageList) -> str | None:
    """None if no patient of the list took part in training or selection; the reason if that cannot be told.

    Raises EvaluationRefused, naming a film, where the manifest shows that a patient did.
    """
    seen = seen_patients(manifest.data, set(listed.patients), source_kind(listed.root))
    if seen is None:
        learned = _patients_by_lists(manifest, listed)
        if learned is None:
            return (
                "Whether the version has seen these patients was not checked: its manifest lists no patients, or those "
                "of another source, and this folder's lists are not those that it was trained by."
            )
        seen = learned & set(listed.patients)
    if seen:
        name = next(name for name, patient in zip(listed.names, listed.patients, strict=True) if patient in seen)
        raise EvaluationRefused(
            f"{manifest.name} was trained or selected on {len(seen)} of the {len(set(listed.patients))} patients of "
            f"this list, for example that of {name}. Figures on them would be too good: use a list of other patients "
            "(if these are other people with the same numbers, tell them apart in the table)."
        )
    return None


def _patients_by_lists(manifest: Manifest, listed: ImageList) -> set[str] | None:
    """Training and validation patients, where the folder's lists are those that the manifest names by hash."""
    wanted = manifest.data.get("split_sha256")
    settings = manifest.data.get("settings", {})
    fraction, seed = settings.get("validation", 0.125), settings.get("recipe", {}).get("seed", 0)
    table = dict(listed.table)
    try:
        lists = {part: read_list(listed.root / f"{part}_list.txt", table) for part in ("train_val", "test")}
    except DatasetInvalid:
        lists = {}
    if lists and wanted == lists_sha256(lists):
        return {table[name].patient for name in lists["train_val"]}
    for how in ("official", "files"):
        try:
            split = read_split(listed.root, table, how, fraction, seed)
        except DatasetInvalid:
            continue
        if wanted == split.sha256:
            return {table[name].patient for name in (*split.train, *split.validation)}
    return None


@dataclass(frozen=True, eq=False)
class VersionOutputs:
    """logits (N, 14), maps {image: (14, h, w)} of the films asked for, and the films that the feature gate refuses.

    What the version was not trained to find is NaN.
    """

    logits: NDArray[np.float64]
    cams: dict[str, NDArray[Any]]
    refused: int


def ask(predictor: Predictor, listed: ImageList, cache_dir: Path, keep_maps: Collection[str] = ()) -> VersionOutputs:
    """Run the version over the list by the same transforms and predictor as serving, with a progress bar.

    Raises DatasetInvalid for missing or unreadable films, FloatingPointError for a logit that is no number.
    """
    squares = cached_images(listed.root, listed.names, predictor.manifest.input_space, cache_dir)
    places = [LABELS.index(label) for label in predictor.manifest.labels]
    logits: list[NDArray[np.float32]] = []
    cams: dict[str, NDArray[Any]] = {}
    refused = 0
    with tqdm(total=len(listed.names), desc=f"Reading {predictor.manifest.name}", unit="film", leave=False) as bar:
        for start in range(0, len(listed.names), predictor.batch_size):
            names = listed.names[start : start + predictor.batch_size]
            prediction = predictor.predict(np.asarray(squares[start : start + len(names)]))
            logits.append(prediction.logits)
            cams |= {name: spread(prediction.cams[i], places) for i, name in enumerate(names) if name in keep_maps}
            refused += sum(not result.accepted for result in predictor.check_features(prediction))
            bar.update(len(names))
    return VersionOutputs(spread(np.concatenate(logits).astype(np.float64).T, places).T, cams, refused)


def spread(values: NDArray[Any], places: Sequence[int]) -> NDArray[Any]:
    """(k, ...) floats, one for each finding of a version -> (14, ...) in the order of LABELS, the others NaN."""
    whole = np.full((len(LABELS), *values.shape[1:]), np.nan, values.dtype)
    whole[list(places)] = values
    return whole

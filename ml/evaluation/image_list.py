"""The list of images of an evaluation: read it, check that a version has not seen its patients, and run the version."""

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
    find_layout,
    list_sha256,
    read_list,
    read_records,
    read_split,
    targets,
)
from ml.data.provenance import lists_sha256, seen_patients, source_kind
from ml.data.splits import OFFICIAL_SHA256
from ml.labels import LABELS
from ml.model.manifest import Manifest
from ml.model.predictor import Predictor

OFFICIAL_TEST = "official test list"


class EvaluationRefused(ValueError):
    """The version must not be evaluated on these images; the message names the reason and what to use instead."""


@dataclass(frozen=True, eq=False)
class ImageList:
    """The images of one list, in its order, with the folder's table."""

    root: Path
    names: tuple[str, ...]
    table: Mapping[str, ImageRecord]
    split_id: str
    sha256: str

    @property
    def records(self) -> list[ImageRecord]:
        """The row of the table for each image."""
        return [self.table[name] for name in self.names]

    @property
    def patients(self) -> list[str]:
        """The patient of each image."""
        return [record.patient for record in self.records]

    @property
    def truth(self) -> NDArray[np.float64]:
        """(N, 14) of 0, 1 and NaN for unknown."""
        return targets(dict(self.table), self.names).astype(np.float64)


def read_image_list(data: Path, split: Path | None) -> ImageList:
    """Read the list `split`, or without one the images that the folder keeps for evaluation.

    Only the 25,596 names that NIH published count as the official test list, whatever the file is called.

    Raises:
        DatasetInvalid: the folder or the list is not usable.
    """
    root = Path(data)
    table = read_records(root)
    names = read_list(Path(split), table) if split else evaluation_images(root, table)
    sha256 = list_sha256(names)
    official = sha256 == OFFICIAL_SHA256["test_list.txt"]
    file = Path(split or root / "test_list.txt")
    title = f"list {file.name}" if file.is_file() else f"test part of {find_layout(root).title}"
    return ImageList(root, names, table, OFFICIAL_TEST if official else title, sha256)


def check_unseen(manifest: Manifest, image_list: ImageList) -> str | None:
    """Check that no patient of the list was used in training or model selection.

    Returns:
        None, or the reason why this could not be checked.

    Raises:
        EvaluationRefused: the manifest shows that a patient was used. The message names an image.
    """
    seen = seen_patients(manifest.data, set(image_list.patients), source_kind(image_list.root))
    if seen is None:
        learned = _patients_by_lists(manifest, image_list)
        if learned is None:
            return (
                "It was not checked whether the version has seen these patients: its manifest lists no patients, or "
                "those of another source, and this folder's lists are not those that it was trained with."
            )
        seen = learned & set(image_list.patients)
    if seen:
        name = next(
            name for name, patient in zip(image_list.names, image_list.patients, strict=True) if patient in seen
        )
        count = len(set(image_list.patients))
        raise EvaluationRefused(
            f"{manifest.name} was trained or selected on {len(seen)} of the {count} patients of "
            f"this list, for example that of {name}. Figures on them would be too good: use a list of other patients. "
            "If these are other people with the same numbers, give them other numbers in the table."
        )
    return None


def _patients_by_lists(manifest: Manifest, image_list: ImageList) -> set[str] | None:
    """Training and validation patients, where the hash in the manifest is that of the folder's lists; else None."""
    wanted = manifest.data.get("split_sha256")
    settings = manifest.data.get("settings", {})
    # Before there was a split_seed, the recipe's chose the validation patients.
    fraction, seed = (
        settings.get("validation", 0.125),
        settings.get("split_seed", settings.get("recipe", {}).get("seed", 0)),
    )
    table = dict(image_list.table)
    try:
        lists = {part: read_list(image_list.root / f"{part}_list.txt", table) for part in ("train_val", "test")}
    except DatasetInvalid:
        lists = {}
    if lists and wanted == lists_sha256(lists):
        return {table[name].patient for name in lists["train_val"]}
    for how in ("official", "files"):
        try:
            split = read_split(image_list.root, table, how, fraction, seed)
        except DatasetInvalid:
            continue
        if wanted == split.sha256:
            return {table[name].patient for name in (*split.train, *split.validation)}
    return None


@dataclass(frozen=True, eq=False)
class VersionOutputs:
    """What a version computed for a list; NaN for labels that it was not trained on.

    Attributes:
        logits: (N, 14).
        cams: maps (14, h, w) of the requested images, by name.
        refused: number of images that the input check refuses by their features.
    """

    logits: NDArray[np.float64]
    cams: dict[str, NDArray[Any]]
    refused: int


def run_version(
    predictor: Predictor, image_list: ImageList, cache_dir: Path, keep_maps: Collection[str] = ()
) -> VersionOutputs:
    """Run the version on the list with the transforms and the predictor of serving, and show a progress bar.

    Args:
        predictor: of the version.
        image_list: the images.
        cache_dir: folder of the image cache.
        keep_maps: names of the images whose maps are needed.

    Raises:
        DatasetInvalid: an image is missing or unreadable.
        FloatingPointError: a logit is not finite.
    """
    squares = cached_images(image_list.root, image_list.names, predictor.manifest.input_space, cache_dir)
    columns = [LABELS.index(label) for label in predictor.manifest.labels]
    logits: list[NDArray[np.float32]] = []
    cams: dict[str, NDArray[Any]] = {}
    refused = 0
    with tqdm(total=len(image_list.names), desc=f"Reading {predictor.manifest.name}", unit="film", leave=False) as bar:
        for start in range(0, len(image_list.names), predictor.batch_size):
            names = image_list.names[start : start + predictor.batch_size]
            prediction = predictor.predict(np.asarray(squares[start : start + len(names)]))
            logits.append(prediction.logits)
            cams |= {
                name: in_label_order(prediction.cams[i], columns) for i, name in enumerate(names) if name in keep_maps
            }
            refused += sum(not result.accepted for result in predictor.check_features(prediction))
            bar.update(len(names))
    return VersionOutputs(in_label_order(np.concatenate(logits).astype(np.float64).T, columns).T, cams, refused)


def in_label_order(values: NDArray[Any], columns: Sequence[int]) -> NDArray[Any]:
    """Values (k, ...) of a version's findings -> (14, ...) in the order of LABELS, with NaN for the others."""
    whole = np.full((len(LABELS), *values.shape[1:]), np.nan, values.dtype)
    whole[list(columns)] = values
    return whole

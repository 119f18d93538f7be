"""Make an artifact of a converted network: heatmap scale, calibration, operating points, input check and card."""

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from ml.data import DatasetInvalid, ImageRecord, cached_images, read_list, read_records, targets
from ml.importers.card import card, provenance
from ml.importers.errors import ImportRefused
from ml.importers.formats import Converted
from ml.importers.options import Options
from ml.labels import LABELS
from ml.metrics import youden_threshold
from ml.model.artifact import save_artifact
from ml.model.calibration import Platt, calibrate, fit_platt
from ml.model.input_check import FeatureCheck
from ml.model.manifest import Manifest, Threshold
from ml.model.networks import CamNetwork, build
from ml.model.saliency import CamScale, fit_cam_scale, identity_error
from ml.model.transforms import to_square
from ml.phantom import FINDINGS, generate
from ml.training.feature_check import fit_feature_check
from ml.training.forward import Outputs, run
from ml.training.package import MIN_POSITIVES, golden_logits

MAX_IDENTITY_ERROR: Final = 1e-4
MAX_IMAGES: Final = 2000
# A logit beyond this is a probability of 1 or 0 in float32.
_CERTAIN: Final = 20.0
MIN_PATIENTS: Final = 200
_PHANTOM_SIDE: Final = 512
_FITTED: Final = "The feature statistics of the input check are from the same films."
_TAGS_ONLY: Final = "No feature statistics: the input check uses a film's attributes, size and shape only."


@dataclass(frozen=True, eq=False)
class Fitted:
    """What is fitted on images: display scale, calibration, operating points with a note for each missing one."""

    cam_scale: dict[str, CamScale]
    calibration: dict[str, Platt]
    thresholds: dict[str, Threshold | None]
    threshold_notes: dict[str, str]
    check: FeatureCheck | None
    metrics: dict[str, Any]
    how: tuple[str, ...]


def assemble(converted: Converted, options: Options, source: Path, directory: Path) -> tuple[Manifest, tuple[str, ...]]:
    """Write the artifact of a converted network into `directory`.

    Returns:
        Its manifest, and sentences about what was fitted on which images.

    Raises:
        ImportRefused: the network gives NaN, its maps do not sum to its logits, or the calibration folder is not a
            data set.
        InputRejected: an image of the calibration folder can't be read.
    """
    images = _calibration_list(options.calibrate) if options.calibrate else None
    network = build(converted.architecture, len(converted.choice.labels), size=converted.space.size).eval()
    network.load_state_dict({key: torch.from_numpy(np.array(value)) for key, value in converted.tensors.items()})
    synthetic = np.stack([to_square(image, converted.space) for image in _synthetic_images(options.phantoms)])
    trial = run(network, synthetic, converted.space, batch_size=8, progress="Synthetic films")
    _check(network, trial)
    fitted = _fit_on_images(network, converted, images, synthetic) if images else _fit_on_synthetic(converted, trial)
    height, width = trial.cams.shape[2:]
    manifest = Manifest(
        name=options.name,
        architecture=converted.architecture,
        input_space=converted.space,
        grid=(height, width),
        thresholds=fitted.thresholds,
        threshold_notes=fitted.threshold_notes,
        calibration=fitted.calibration,
        cam_scale=fitted.cam_scale,
        gate=None,
        metrics=fitted.metrics,
        data=provenance(converted, options, source),
        card=card(converted, options, fitted.thresholds, fitted.how),
        weights_sha256="",
        labels=converted.choice.labels,
        golden_logits=golden_logits(network, converted.space),
    )
    # Keep float32 weights, so that an imported version gives the outputs of its source.
    how = fitted.how + _saturated(trial, converted.choice.labels)
    return save_artifact(directory, manifest, converted.tensors, fitted.check), how


@lru_cache(maxsize=2)
def _synthetic_images(count: int) -> tuple[NDArray[np.uint8], ...]:
    records = (generate(seed, _PHANTOM_SIDE, FINDINGS[seed % len(FINDINGS) :][: seed % 2]) for seed in range(count))
    return tuple((image.pixels >> 4).astype(np.uint8) for image in records)


def _check(network: CamNetwork, trial: Outputs) -> None:
    if not np.isfinite(trial.logits).all():
        raise ImportRefused("The network answers synthetic films with NaN or infinity: its weights are not usable.")
    error = identity_error(trial.logits, trial.cams, network.classifier.bias.detach().numpy())
    scale = max(1.0, float(np.abs(trial.cams).max()))
    if error > MAX_IDENTITY_ERROR * scale:
        raise ImportRefused(f"The activation maps miss the logits by {error:.2g}: no exact heatmap can be drawn.")


def _saturated(trial: Outputs, labels: Sequence[str]) -> tuple[str, ...]:
    """A note on outputs with a probability of 0 or 1 for every synthetic image, which are not usable."""
    stuck = [label for column, label in enumerate(labels) if np.abs(trial.logits[:, column]).min() > _CERTAIN]
    if not stuck:
        return ()
    return (f"WARNING: certain of every synthetic film, so of no use as it is: {', '.join(stuck)}. Check the file.",)


def _fit_on_synthetic(converted: Converted, trial: Outputs) -> Fitted:
    labels = converted.choice.labels
    absent = "No operating point came with the import, and none was chosen here."
    return Fitted(
        cam_scale={label: fit_cam_scale(trial.cams[:, column]) for column, label in enumerate(labels)},
        calibration={label: Platt() for label in labels},
        thresholds={label: converted.thresholds.get(label) for label in labels},
        threshold_notes={label: absent for label in labels if label not in converted.thresholds},
        check=None,
        metrics={},
        how=(
            f"Heatmap scale from {len(trial.cams)} synthetic films, so colours may be too strong or too weak.",
            "Not calibrated here: probabilities are the source's own sigmoid.",
            _TAGS_ONLY,
        ),
    )


@dataclass(frozen=True)
class _CalibrationList:
    """The images of a calibration folder that are used."""

    folder: Path
    records: dict[str, ImageRecord]
    names: list[str]


def _calibration_list(folder: Path) -> _CalibrationList:
    """Choose the calibration images. The test list is never used, so that a later evaluation can use it."""
    try:
        records = read_records(folder)
        lists = {path.name: path for path in folder.glob("*_list.txt")}
        test = set(read_list(lists["test_list.txt"], records)) if "test_list.txt" in lists else set()
        names = read_list(lists["train_val_list.txt"], records) if "train_val_list.txt" in lists else tuple(records)
    except DatasetInvalid as error:
        raise ImportRefused(f"The calibration films can't be used: {error}") from error
    remaining = [name for name in names if name not in test and records[name].part != "test"]
    if not remaining:
        raise ImportRefused("The calibration films can't be used: all of them are on the test list.")
    chosen = np.sort(np.random.default_rng(0).permutation(len(remaining))[:MAX_IMAGES])
    return _CalibrationList(folder, records, [remaining[index] for index in chosen])


def _fit_on_images(
    network: CamNetwork, converted: Converted, images: _CalibrationList, synthetic: NDArray[np.uint8]
) -> Fitted:
    labels, records, names = converted.choice.labels, images.records, images.names
    try:
        with tempfile.TemporaryDirectory() as cache:
            cached = cached_images(images.folder, names, converted.space, Path(cache))
            squares = np.array(cached[np.arange(len(names))])
    except DatasetInvalid as error:
        raise ImportRefused(f"The calibration films can't be used: {error}") from error
    outputs = run(network, squares, converted.space, progress="Calibration films")
    truth = targets(records, names)[:, [LABELS.index(label) for label in labels]]
    calibration, thresholds, notes = _points(converted, outputs, truth)
    patients = [records[name].patient for name in names]
    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()
    how = (
        f"Heatmap scale and Platt calibration from {len(names)} films of {len(set(patients))} patients (SHA-256 of the "
        f"names {digest[:16]}). Whether the source was trained on them is not known, so no figure is given."
    )
    check, metrics = None, {}
    if len(set(patients)) >= MIN_PATIENTS:
        check, metrics["gate"] = fit_feature_check(network, squares, patients, converted.space, synthetic)
    about_check = _FITTED if check else _TAGS_ONLY
    scale = {label: fit_cam_scale(outputs.cams[:, column]) for column, label in enumerate(labels)}
    return Fitted(scale, calibration, thresholds, notes, check, metrics, (how, about_check))


def _points(
    converted: Converted, outputs: Outputs, truth: NDArray[np.float32]
) -> tuple[dict[str, Platt], dict[str, Threshold | None], dict[str, str]]:
    calibration: dict[str, Platt] = {}
    thresholds: dict[str, Threshold | None] = {}
    notes: dict[str, str] = {}
    for column, label in enumerate(converted.choice.labels):
        logits, real = outputs.logits[:, column], truth[:, column]
        positives = int(real.sum())
        enough = MIN_POSITIVES <= positives <= len(real) - MIN_POSITIVES
        calibration[label] = fit_platt(logits, real) if enough else Platt()
        own = converted.thresholds.get(label)
        if own is not None:
            # Calibrate the threshold like the logits, so that the same images stay positive.
            calibrated = calibrate(np.array([[np.log(own.value / (1 - own.value))]]), [label], calibration)
            thresholds[label] = replace(own, value=float(np.clip(calibrated[0, 0], 1e-6, 1 - 1e-6)))
        elif enough:
            value = youden_threshold(real, calibrate(logits[:, None], [label], calibration)[:, 0])
            thresholds[label] = Threshold(float(np.clip(value, 1e-6, 1 - 1e-6)), "youden", positives)
        else:
            thresholds[label] = None
            notes[label] = f"No operating point: {positives} positive calibration films, {MIN_POSITIVES} are needed."
    return calibration, thresholds, notes

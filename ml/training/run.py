"""One training on one rank: data, loop, gate, artifact. The chief alone writes the artifact."""

import hashlib
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ml.data import (
    DatasetInvalid,
    ImageRecord,
    Split,
    age_range,
    cached_images,
    data_sha256,
    find_layout,
    read_records,
    read_split,
    summary,
    targets,
)
from ml.data.provenance import SEEN_PATIENTS, patient_fingerprint, source_kind
from ml.data.shards import ImageArray
from ml.labels import LABELS
from ml.metrics import evaluate
from ml.model.age import VALIDATED_AGES
from ml.model.manifest import Manifest
from ml.model.networks import CamNetwork, with_outputs
from ml.training.checkpoint import Checkpoints
from ml.training.config import SPLIT_SEED, TrainingConfig
from ml.training.feature_check import FOLDS, fit_feature_check
from ml.training.fit import Notice, fit, indices
from ml.training.fitting import Execution, Fit, TrainingData
from ml.training.forecast import Forecast
from ml.training.forward import run, run_varied
from ml.training.package import Description, HeldOut, load_rounded, package, rounded_tensors
from ml.training.world import World

LIMITS = (
    "only frontal films; probabilities hold for the prevalence of the training films; mirrored films are not detected."
)
_SAMPLED_FILMS = 64
_COMPRESS_BELOW = 0.95


@dataclass(frozen=True, eq=False)
class Prepared:
    """Images, truth and split of a run, read and checked. `identity` differs when any of them differs.

    `squares` are the images to fit, `held` those to select by, `truth` (N, 14) has both, in this order.
    """

    table: dict[str, ImageRecord]
    split: Split
    names: tuple[str, ...]
    squares: ImageArray
    held: ImageArray
    truth: NDArray[np.float32]
    identity: str

    def data(self) -> TrainingData:
        """What the loop fits and selects by."""
        return TrainingData(
            self.squares,
            self.truth,
            indices(self.names, self.split.train),
            indices(self.names, self.split.validation),
            self.held,
        )

    @property
    def held_patients(self) -> list[str]:
        """Patients of the validation images."""
        return [self.table[name].patient for name in self.split.validation]


def prepare(config: TrainingConfig, *, to_fit: bool = True) -> Prepared:
    """Read table, lists and images; the test list's images are not opened, nor those to fit unless `to_fit`.

    Selection, calibration and operating points come from validation images, a patient-wise part of train_val_list.
    Raises DatasetInvalid, InputRejected.
    """
    table = read_records(config.data)
    split = read_split(config.data, table, config.split, config.validation, SPLIT_SEED)
    patients = {table[name].patient for name in split.validation}
    if len(patients) < FOLDS:
        raise DatasetInvalid(
            f"The validation part has {len(patients)} patients; the gate that is fitted at the end needs {FOLDS}. "
            "Use more films, or a larger validation part."
        )
    names = (*split.train, *split.validation)
    held = cached_images(config.data, split.validation, config.space, config.films_cache)
    squares = cached_images(config.data, split.train, config.crop_space, config.films_cache) if to_fit else held
    return Prepared(table, split, names, squares, held, targets(table, names), _identity(table, split, squares, held))


def _identity(table: dict[str, ImageRecord], split: Split, *images: ImageArray) -> str:
    """Hash of the lists, of all labels and of some images' pixels: two nodes with the same one have the same data."""
    digest = hashlib.sha256(data_sha256(table, split).encode())
    for squares in images:
        chosen = np.unique(np.linspace(0, len(squares) - 1, _SAMPLED_FILMS).astype(np.intp))
        digest.update(squares[chosen].tobytes())
    return digest.hexdigest()


def device_of(wanted: str, local_rank: int = 0) -> torch.device:
    """The device to train on. Raises RuntimeError when CUDA is wanted and absent."""
    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if wanted not in ("auto", "cuda"):
        raise RuntimeError(f"--device is auto, cpu or cuda, not {wanted!r}.")
    if not torch.cuda.is_available():
        raise RuntimeError("torch finds no CUDA device: use --device cpu, or check the driver.")
    if local_rank >= torch.cuda.device_count():
        raise RuntimeError(f"{torch.cuda.device_count()} GPUs are too few: lower --nproc-per-node.")
    return torch.device("cuda", local_rank)


def execution_of(config: TrainingConfig, world: World, expected: Forecast | None) -> Execution:
    """What "auto" means here: compile on GPUs, compress gradients where the network would hold GPUs up."""
    cuda = world.device.type == "cuda"
    slow = world.backend == "nccl" and expected is not None and expected.efficiency < _COMPRESS_BELOW
    return Execution(
        config.micro_batch,
        {"on": True, "off": False, "auto": cuda and not config.deterministic}[config.compile],
        {"on": world.size > 1, "off": False, "auto": slow}[config.compress],
        60 * config.checkpoint_minutes,
    )


def train(
    config: TrainingConfig,
    prepared: Prepared,
    network: CamNetwork,
    world: World,
    notice: Notice,
    stop: threading.Event,
    expected: Forecast | None = None,
) -> Fit:
    """Fit `network` with the other ranks of `world`, resuming where the settings say so."""
    fingerprint = f"{config.fingerprint()} {prepared.identity}"
    checkpoints = Checkpoints(config.out / "checkpoints", fingerprint)
    return fit(
        network,
        prepared.data(),
        config.space,
        config.recipe,
        checkpoints,
        True,
        notice,
        world=world,
        execution=execution_of(config, world, expected),
        stop=stop,
    )


def write_artifact(
    config: TrainingConfig, prepared: Prepared, network: CamNetwork, chosen: Fit, ranks: str
) -> Manifest:
    """Measure the chosen weights on the validation images and write `config.out/artifact`. `ranks` goes to the card."""
    figures = {
        "history": [{k: None if np.isnan(v) else v for k, v in line.items()} for line in chosen.history],
        "selected_epoch": chosen.epoch,
    }
    return measured_artifact(config, prepared, network, _recipe_text(config, chosen, ranks), figures, config.describe())


def measured_artifact(
    config: TrainingConfig,
    prepared: Prepared,
    network: CamNetwork,
    recipe: str,
    figures: Mapping[str, Any],
    settings: Mapping[str, Any],
    outputs_of: tuple[str, ...] = LABELS,
) -> Manifest:
    """Measure a network on the validation images, fit calibration and input check, and write `config.out/artifact`.

    An output that the data have no truth for is dropped: nothing was learnt for it, and it could never be measured.
    `recipe` goes to the card, `figures` and `settings` to the manifest; `outputs_of` names the network's outputs.
    """
    known = np.atleast_1d(np.isfinite(prepared.truth).any(axis=0))
    columns = [column for column, label in enumerate(LABELS) if known[column] and label in outputs_of]
    network = with_outputs(network, [outputs_of.index(LABELS[column]) for column in columns])
    load_rounded(network, rounded_tensors(network))
    batch = min(config.recipe.batch_size, 64)
    outputs = HeldOut(
        run(network, prepared.held, config.space, batch),
        prepared.truth[len(prepared.split.train) :, columns],
        prepared.held_patients,
        [prepared.table[name].view for name in prepared.split.validation],
        run_varied(network, prepared.held, config.space, batch),
        tuple(LABELS[column] for column in columns),
    )
    patients, seed = prepared.held_patients, config.recipe.seed
    gate, gate_figures = fit_feature_check(network, prepared.held, patients, config.space, seed=seed)
    metrics = {
        "validation": evaluate(outputs.truth, outputs.outputs.logits, patients, outputs.labels),
        "gate": gate_figures,
        **figures,
    }
    description = Description(
        config.version_name,
        config.architecture,
        recipe,
        {**_data(config, prepared), "settings": dict(settings)},
        limits_of(config, prepared),
        has_map=outputs.outputs.cams.shape[2:] != (1, 1),
    )
    return package(Path(config.out) / "artifact", network, config.space, outputs, description, metrics, gate)


def limits_of(config: TrainingConfig, prepared: Prepared) -> str:
    """What a version of this data can't do, for its card. Most data sets label only some of the findings."""
    known = np.isfinite(prepared.truth)
    unlabelled = [label for column, label in enumerate(LABELS) if not known[:, column].any()]
    without = (
        f"not labelled in the data, so there is no output for them: {', '.join(unlabelled)}; " if unlabelled else ""
    )
    return f"labels were {find_layout(config.data).truth}; {without}{LIMITS}"


def _recipe_text(config: TrainingConfig, chosen: Fit, ranks: str) -> str:
    start = f"weights of {Path(config.init_weights).name}" if config.init_weights else "random weights"
    recipe = config.recipe
    loss = {"bce": "unweighted BCE", "asymmetric": "asymmetric loss"}[recipe.loss]
    options = {
        f"learning rates that fall by {recipe.layer_decay:g} a layer": recipe.layer_decay < 1,
        f"drop-path {recipe.drop_path:g}": recipe.drop_path > 0,
        f"mixup {recipe.mixup:g}": recipe.mixup > 0,
        f"RandAugment with {recipe.augmentation.operations} operations": recipe.augmentation.operations > 0,
    }
    more = "".join(f", {text}" for text, used in options.items() if used)
    return (
        f"from {start}, {recipe.epochs} epochs of AdamW at {recipe.train_size} pixels, {loss}{more}, averaged weights "
        f"of epoch {chosen.epoch} by validation AUROC; seed {recipe.seed}, a global batch of {recipe.batch_size} on "
        f"{ranks}."
    )


def _data(config: TrainingConfig, prepared: Prepared) -> dict[str, Any]:
    def summary_of(names: Sequence[str]) -> dict[str, Any]:
        return summary(prepared.table, names)

    return {
        "source": find_layout(config.data).source,
        "split_id": prepared.split.how,
        "split_sha256": prepared.split.sha256,
        "train": summary_of(prepared.split.train),
        "validation": summary_of(prepared.split.validation),
        VALIDATED_AGES: age_range(prepared.table, prepared.split.validation),
        SEEN_PATIENTS: patient_fingerprint(
            (prepared.table[name].patient for name in prepared.names), source_kind(config.data)
        ),
    }

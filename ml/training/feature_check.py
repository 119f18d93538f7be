"""Fit the input check of a version on the pooled features of its own network."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ml.data import patient_folds
from ml.data.shards import ImageArray
from ml.model.input_check import FeatureCheck
from ml.model.networks import CamNetwork
from ml.model.transforms import InputSpace
from ml.training.augment import DRAWS, augment
from ml.training.config import Augmentation
from ml.training.forward import run, to_tensor
from ml.training.heads import fit_heads
from ml.training.negatives import GENERATORS, generated, spoiled

DIRECTIONS = 64
FOLDS = 4
L2 = 0.01
FALSE_REFUSAL = 0.003
"""Share of held-out images that each of the two statistics may refuse."""

MAX_IMAGES = 1500
_EXPOSURE = Augmentation(min_area=0.8, degrees=5.0, flip=0.0)


def fit_feature_check(
    network: CamNetwork,
    squares: ImageArray,
    patients: list[str],
    space: InputSpace,
    extra: NDArray[np.uint8] | None = None,
    seed: int = 0,
) -> tuple[FeatureCheck, dict[str, Any]]:
    """Fit on frontal chest images (N, S, S) of `patients`; `extra` are further images to accept (synthetic ones).

    Returns the check and its figures on images held out by patient and on negatives not fitted on.
    """
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.permutation(len(squares))[:MAX_IMAGES])
    images, patients = np.array(squares[chosen]), [patients[i] for i in chosen]
    plain = run(network, images, space, progress="Input check: films").features
    varied = run(network, _varied(images, space, seed), space, progress="Input check: exposures").features
    other = run(network, extra, space).features if extra is not None and len(extra) else plain[:0]
    bad_images = run(network, spoiled(images, seed), space, progress="Input check: spoiled films").features
    bad_pictures = run(
        network, generated(space.size, min(len(images), 600), seed), space, progress="Input check: other pictures"
    ).features
    held, distance, refused, strange = _held_out(plain, varied, other, bad_images, bad_pictures, patients, seed)
    min_score = _cut(held, np.concatenate([refused, strange]))
    check = _fit(np.concatenate([plain, varied, other]), plain, np.concatenate([bad_images, bad_pictures]))
    reach = check.distance(other).max(initial=0.0)
    max_distance = max(float(np.quantile(distance, 1 - FALSE_REFUSAL)), float(reach)) * 1.1
    final = FeatureCheck(
        check.mean,
        check.scale,
        check.weight,
        check.bias,
        min_score,
        check.basis,
        check.variance,
        check.residual,
        max_distance,
    )
    figures = {
        "films": len(images),
        "refused_films": float(np.mean((held < min_score) | (distance > max_distance))),
        "refused_spoiled_films": float(np.mean(refused < min_score)),
        "refused_other_pictures": float(np.mean(strange < min_score)),
        "held_out_by": f"patient, {FOLDS} folds",
    }
    return final, figures


def _held_out(
    plain: NDArray[np.float32],
    varied: NDArray[np.float32],
    other: NDArray[np.float32],
    bad_images: NDArray[np.float32],
    bad_pictures: NDArray[np.float32],
    patients: list[str],
    seed: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Scores and distances of images, then scores of spoiled images and of pictures, by checks not fitted on them."""
    folds = patient_folds(patients, FOLDS, seed)
    # Kinds of pictures come in turn; whole turns go to one fold, so each fold has every kind.
    picture_fold = np.arange(len(bad_pictures)) // len(GENERATORS) % FOLDS
    held, distance, refused = (np.zeros(len(plain)) for _ in range(3))
    strange = np.zeros(len(bad_pictures))
    for fold in range(FOLDS):
        rest, inside, pictures = folds != fold, folds == fold, picture_fold == fold
        check = _fit(
            np.concatenate([plain[rest], varied[rest], other]),
            plain[rest],
            np.concatenate([bad_images[rest], bad_pictures[~pictures]]),
        )
        held[inside], distance[inside] = check.score(plain[inside]), check.distance(plain[inside])
        refused[inside], strange[pictures] = check.score(bad_images[inside]), check.score(bad_pictures[pictures])
    return held, distance, refused, strange


def _varied(images: NDArray[np.uint8], space: InputSpace, seed: int) -> NDArray[np.uint8]:
    draws = torch.rand(len(images), DRAWS, generator=torch.Generator().manual_seed(seed))
    grey = torch.cat(
        [
            augment(to_tensor(images[i : i + 64], torch.device("cpu")), space.size, _EXPOSURE, draws[i : i + 64])
            for i in range(0, len(images), 64)
        ]
    )
    return np.asarray((grey[:, 0] * 255).round().to(torch.uint8).numpy())


def _cut(accepted: NDArray[np.float64], refused: NDArray[np.float64]) -> float:
    # Where both sides leave a gap, cut in its middle; where they touch, the images' false refusal decides.
    low = float(np.quantile(accepted, FALSE_REFUSAL))
    high = float(np.quantile(refused, 0.995))
    return min(low, (low + high) / 2.0)


def _fit(accepted: NDArray[np.float32], typical: NDArray[np.float32], refused: NDArray[np.float32]) -> FeatureCheck:
    mean, scale = typical.mean(axis=0), typical.std(axis=0) + 1e-3
    both = (np.concatenate([accepted, refused]) - mean) / scale
    truth = np.concatenate([np.ones(len(accepted)), np.zeros(len(refused))])[:, None]
    head = fit_heads(both, truth, L2, balanced=True)
    z = (typical - mean) / scale
    _, singular, directions = np.linalg.svd(z, full_matrices=False)
    count = min(DIRECTIONS, len(z) // 4, z.shape[1])
    variance = singular**2 / len(z)
    residual = max(float(variance[count:].sum() / max(z.shape[1] - count, 1)), 1e-3)
    return FeatureCheck(
        mean,
        scale,
        head.weight[0],
        float(head.bias[0]),
        0.0,
        np.ascontiguousarray(directions[:count].T),
        variance[:count].astype(np.float32),
        residual,
        np.inf,
    )

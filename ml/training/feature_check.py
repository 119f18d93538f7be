"""Fit the input check of a version on the pooled features of its own network."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from ml.data import patient_folds
from ml.data.shards import ImageArray
from ml.model.input_check import KINDS, FeatureCheck
from ml.model.networks import CamNetwork
from ml.model.transforms import InputSpace
from ml.training.forward import run
from ml.training.negatives import GENERATORS, generated
from ml.training.other_radiographs import PARTS, other_radiographs
from ml.training.spoiled import SPOILED, spoiled
from ml.training.usual import varied

DIRECTIONS = 64
FOLDS = 4
L2 = 0.001
FALSE_REFUSAL = 0.006
"""Share of held-out images that the classifiers may refuse; some films of the public set are turned or negatives."""

FAR = 0.001
"""Share of held-out images that the distance may refuse."""

FAR_VARIED = 0.05
"""Share of held-out images in another exposure, position or frame that the distance may refuse."""

MAX_IMAGES = 1500
PER_KIND = 400
"""Negatives of each kind."""


@dataclass(frozen=True, eq=False)
class Examples:
    """Features (N, C) and the fold of each image; a `fold` of -1 is in no fold, that is, always fitted on."""

    features: NDArray[np.float32]
    fold: NDArray[np.intp]

    def outside(self, fold: int) -> NDArray[np.float32]:
        """The features of the other folds."""
        return self.features[self.fold != fold]

    def inside(self, fold: int) -> NDArray[np.float32]:
        """The features of one fold."""
        return self.features[self.fold == fold]


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
    images, folds = np.array(squares[chosen]), patient_folds([patients[i] for i in chosen], FOLDS, seed)

    def examples(pictures: NDArray[np.uint8], fold: NDArray[np.intp], what: str) -> Examples:
        return Examples(run(network, pictures, space, progress=f"Input check: {what}").features, fold)

    films = examples(images, folds, "films")
    other = np.zeros((0, *images.shape[1:]), np.uint8) if extra is None else extra
    others = [examples(varied(images, seed), folds, "varied films")]
    if len(other):
        others.append(examples(other, np.full(len(other), -1), "further films"))
    refused = {}
    for kind in SPOILED:
        some = rng.permutation(len(images))[:PER_KIND]
        refused[kind] = examples(spoiled(images[some], kind, seed), folds[some], kind)
    # Kinds of pictures come in turn; whole turns go to one fold, so each fold has every kind.
    count = np.arange(min(len(images), PER_KIND))
    refused["radiograph"] = examples(
        other_radiographs(space.size, len(count), seed), count // len(PARTS) % FOLDS, "other radiographs"
    )
    refused["picture"] = examples(
        generated(space.size, len(count), seed), count // len(GENERATORS) % FOLDS, "other pictures"
    )
    return _fitted(films, others, refused)


def describe(figures: Mapping[str, Any]) -> list[str]:
    """The lines of a version's card about its input check, from the figures of `fit_feature_check`."""
    if "refused" not in figures:
        return []
    what = (
        f"Of {figures['films']} whole films, each checked without its patient's films, "
        f"{figures['refused_films']:.1%} are refused. What it must refuse was made: parts, screenshots and the like "
        "from the same films, other radiographs (limb, hand, abdomen, skull, lateral chest, joint, spine) as phantoms. "
        "Real radiographs of other parts of the body were not at hand."
    )
    rows = [f"| {text} | {figures['refused'][kind]:.0%} |" for kind, text in KINDS.items()]
    return ["## Input check", "", what, "", "| must be refused | refused |", "| --- | --- |", *rows, ""]


def _fitted(
    films: Examples, others: list[Examples], refused: Mapping[str, Examples]
) -> tuple[FeatureCheck, dict[str, Any]]:
    """Fit on whole films, `others` to accept (the first are the films varied) and the kinds to refuse."""
    accepted, varied_films = [films, *others], others[0]
    held: list[NDArray[np.float64]] = []
    distance: list[NDArray[np.float64]] = []
    varied_distance: list[NDArray[np.float64]] = []
    scores: dict[str, list[NDArray[np.float64]]] = {kind: [] for kind in refused}
    for fold in range(FOLDS):
        check = _fit(
            films.outside(fold),
            np.concatenate([each.outside(fold) for each in accepted]),
            {kind: each.outside(fold) for kind, each in refused.items()},
        )
        held.append(check.score(films.inside(fold)))
        distance.append(check.distance(films.inside(fold)))
        varied_distance.append(check.distance(varied_films.inside(fold)))
        for kind, each in refused.items():
            scores[kind].append(check.score(each.inside(fold)))
    film_scores, film_distances = np.concatenate(held), np.concatenate(distance)
    kind_scores = {kind: np.concatenate(each) for kind, each in scores.items()}
    min_score = _cut(film_scores, np.concatenate(list(kind_scores.values())))
    every = np.concatenate([each.features for each in accepted])
    check = _fit(films.features, every, {kind: each.features for kind, each in refused.items()})
    reach = max((float(check.distance(each.features).max()) for each in others[1:]), default=0.0)
    farthest = float(np.quantile(film_distances, 1 - FAR))
    farthest_varied = float(np.quantile(np.concatenate(varied_distance), 1 - FAR_VARIED))
    max_distance = max(farthest, farthest_varied, reach) * 1.1
    figures = {
        "films": len(film_scores),
        "refused_films": float(np.mean((film_scores < min_score) | (film_distances > max_distance))),
        "refused": {kind: float(np.mean(each < min_score)) for kind, each in kind_scores.items()},
        "held_out_by": f"patient, {FOLDS} folds",
    }
    return replace(check, min_score=min_score, max_distance=max_distance), figures


def _cut(accepted: NDArray[np.float64], refused: NDArray[np.float64]) -> float:
    # Where both sides leave a gap, cut in its middle; where they touch, the images' false refusal decides.
    low = float(np.quantile(accepted, FALSE_REFUSAL))
    high = float(np.quantile(refused, 0.995))
    return min(low, (low + high) / 2.0)


def _fit(
    typical: NDArray[np.float32], accepted: NDArray[np.float32], refused: Mapping[str, NDArray[np.float32]]
) -> FeatureCheck:
    mean, scale = typical.mean(axis=0), typical.std(axis=0) + 1e-3
    groups = [(each - mean) / scale for each in (accepted, *(refused[kind] for kind in KINDS))]
    weight, bias = fit_softmax(groups, L2)
    z = (typical - mean) / scale
    _, singular, directions = np.linalg.svd(z, full_matrices=False)
    count = min(DIRECTIONS, len(z) // 4, z.shape[1])
    variance = singular**2 / len(z)
    residual = max(float(variance[count:].sum() / max(z.shape[1] - count, 1)), 1e-3)
    return FeatureCheck(
        mean=mean,
        scale=scale,
        weight=weight[:1] - weight[1:],
        bias=bias[0] - bias[1:],
        min_score=0.0,
        basis=np.ascontiguousarray(directions[:count].T),
        variance=variance[:count].astype(np.float32),
        residual=residual,
        max_distance=np.inf,
    )


def fit_softmax(groups: list[NDArray[np.float32]], l2: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Multinomial logistic regression between groups of standardised features, penalty l2/2 |w|^2.

    The first group has half of the weight, the others share the rest. Returns weights (groups, C) and biases (groups,).
    """
    x = torch.from_numpy(np.concatenate(groups).astype(np.float32))
    truth = torch.from_numpy(np.repeat(np.arange(len(groups)), [len(group) for group in groups]))
    shares = [0.5, *[0.5 / (len(groups) - 1)] * (len(groups) - 1)]
    each = torch.tensor([share / max(len(group), 1) for share, group in zip(shares, groups, strict=True)])[truth]
    weight = torch.zeros(len(groups), x.shape[1], requires_grad=True)
    bias = torch.zeros(len(groups), requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [weight, bias], max_iter=100, tolerance_change=1e-6, history_size=10, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = (functional.cross_entropy(x @ weight.T + bias, truth, reduction="none") * each).sum()
        total = loss + l2 / 2 * (weight**2).sum()
        total.backward()  # type: ignore[no-untyped-call]
        return total

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    return weight.detach().numpy(), bias.detach().numpy()

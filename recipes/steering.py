"""Class activation maps that point where radiologists drew boxes, at the least change of the scores.

A linear head on pooled features has far more weights than films that determine it: many heads score alike and look at
different places. Of these, this takes one whose map peaks in the boxes. The change d of a finding's weights minimises

    mean over boxed films of the cross-entropy between softmax(CAM) and the boxes  +  strength / 2 * variance(d . f)

where f are the pooled features of all training films: convex, and the score of a film moves by d . f alone.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from ml.data import Box
from ml.labels import LABELS
from ml.model.networks import CamNetwork
from ml.model.transforms import InputSpace
from ml.training.forward import normalised, to_tensor

MIN_FILMS = 20
"""Fewer boxed films than this say nothing about where a finding is looked for."""

_RIDGE = 0.05
_FINE = 8


def inside(boxes: Sequence[Box], rows: int, columns: int) -> NDArray[np.float32]:
    """Share of each cell of a grid that covers the whole film, (rows, columns), which lies in any of the boxes."""
    fine = np.zeros((rows * _FINE, columns * _FINE), np.float32)
    for box in boxes:
        b = box.scaled(*fine.shape)
        top, left = int(b.y), int(b.x)
        fine[top : int(np.ceil(b.y + b.height)), left : int(np.ceil(b.x + b.width))] = 1
    return np.asarray(fine.reshape(rows, _FINE, columns, _FINE).mean(axis=(1, 3)))


def steer(
    network: CamNetwork,
    squares: NDArray[np.uint8],
    boxes: Sequence[Sequence[Box]],
    features: NDArray[np.float32],
    space: InputSpace,
    strength: float = 1.0,
) -> Mapping[str, int]:
    """Change the head of `network` in place, for each finding with boxes on at least `MIN_FILMS` films.

    squares (n, S, S) uint8 are films with boxes, `boxes` theirs, features (N, C) the network's pooled features of all
    training films. `space` must fit the whole film ("stretch"). Returns the boxed films of each finding changed.
    """
    if space.fit != "stretch":
        raise ValueError("Boxes can be used only where the input shows the whole film.")
    changed = {}
    for column, label in enumerate(LABELS):
        own = [[box for box in each if box.label == label] for each in boxes]
        chosen = [index for index, each in enumerate(own) if each]
        if len(chosen) < MIN_FILMS:
            continue
        maps = _maps(network, squares[chosen], space)
        wanted = np.stack([inside(own[index], *maps.shape[1:3]) for index in chosen])
        with torch.no_grad():
            weight = network.classifier.weight[column]
            change = _solve(maps, wanted, weight, features, strength)
            weight += change
            network.classifier.bias[column] -= change @ torch.from_numpy(features.mean(axis=0))
        changed[label] = len(chosen)
    return changed


def pointing(cams: NDArray[np.floating], boxes: Sequence[Sequence[Box]]) -> dict[str, dict[str, float]]:
    """Share of boxed films whose map's highest cell has its centre in a box, for each finding with `MIN_FILMS` of them.

    cams (n, L, h, w). `area` beside it is the mean share of the film that the boxes cover: what a random point reaches.
    """
    found = {}
    for column, label in enumerate(LABELS):
        own = [(cam[column], [b for b in each if b.label == label]) for cam, each in zip(cams, boxes, strict=True)]
        hits, areas = [], []
        for cam, each in own:
            if each:
                row, place = np.unravel_index(int(cam.argmax()), cam.shape)
                scaled = [box.scaled(*cam.shape) for box in each]
                y, x = row + 0.5, place + 0.5
                hits.append(any(b.x <= x <= b.x + b.width and b.y <= y <= b.y + b.height for b in scaled))
                areas.append(float(inside(each, 64, 64).mean()))
        if len(hits) >= MIN_FILMS:
            found[label] = {"films": len(hits), "pointing": float(np.mean(hits)), "area": float(np.mean(areas))}
    return found


def _maps(network: CamNetwork, squares: NDArray[np.uint8], space: InputSpace) -> torch.Tensor:
    """Feature maps (n, h, w, C)."""
    device = next(network.parameters()).device
    parts = []
    with torch.no_grad():
        for start in range(0, len(squares), 32):
            batch = to_tensor(squares[start : start + 32], device)
            parts.append(network.features(normalised(batch, space)).permute(0, 2, 3, 1).float().cpu())
    return torch.cat(parts).contiguous()


def _solve(
    maps: torch.Tensor,
    wanted: NDArray[np.float32],
    weight: torch.Tensor,
    features: NDArray[np.float32],
    strength: float,
) -> torch.Tensor:
    target = torch.from_numpy(wanted).flatten(1)
    target = target / target.sum(dim=1, keepdim=True)
    cells = maps.flatten(1, 2)
    before = cells @ weight.cpu()
    covariance = torch.from_numpy(np.cov(features.T).astype(np.float32))
    covariance += _RIDGE * covariance.diagonal().mean() * torch.eye(len(covariance))
    change = torch.zeros(len(covariance), requires_grad=True)
    optimiser = torch.optim.LBFGS([change], max_iter=100, history_size=10, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        missed = -(target * torch.log_softmax(before + cells @ change, dim=1)).sum(dim=1).mean()
        loss = missed + strength / 2 * (change @ covariance @ change)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    with torch.enable_grad():
        optimiser.step(closure)  # type: ignore[no-untyped-call]
    return change.detach()

"""What a fit consists of: data, loss, learning rate, optimiser, selection, and options of its execution."""

import logging
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ml.data.shards import ImageArray
from ml.metrics import MetricUndefined, auroc
from ml.training.config import LOSSES, Recipe
from ml.training.layers import layer_depths, undecayed

LOG = logging.getLogger(__name__)


class TrainingDiverged(RuntimeError):
    """The loss became NaN or infinite."""


class Stopped(Exception):
    """A signal ended the training after a checkpoint; it can be resumed."""


@dataclass(frozen=True, eq=False)
class TrainingData:
    """Images uint8 (N, S, S), truth (N, L; NaN where unknown), and which of them to fit and to select by (indices).

    `squares` is an array, or shards that are indexed like one. `held` are the images to select by, in the order of
    `validation`, where those to fit have another size.
    """

    squares: ImageArray
    truth: NDArray[np.float32]
    train: NDArray[np.intp]
    validation: NDArray[np.intp]
    held: ImageArray | None = None

    def held_images(self, chosen: slice = slice(None)) -> tuple[ImageArray, NDArray[np.intp]]:
        """Images to select by, as an array and the rows of it; `chosen` takes some of them."""
        if self.held is None:
            return self.squares, self.validation[chosen]
        return self.held, np.arange(len(self.validation))[chosen]


@dataclass
class Fit:
    """Result of `fit`: the chosen weights (of the average), the epoch they are of, and one line per epoch."""

    state: dict[str, Tensor] = field(default_factory=dict)
    epoch: int = 0
    score: float = -math.inf
    history: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Execution:
    """What changes how fast a fit runs, and not what it computes (except `compress`, which rounds gradients)."""

    micro_batch: int = 0
    compile: bool = False
    compress: bool = False
    checkpoint_seconds: float = 600.0

    def compiled(self, network: nn.Module) -> Any:
        """The network through torch.compile where asked for; a compiler that fails leaves the plain network."""
        if not self.compile:
            return network
        import torch._dynamo

        torch._dynamo.config.suppress_errors = True
        return torch.compile(network, dynamic=False)


def masked_bce(logits: Tensor, truth: Tensor) -> Tensor:
    """Sum of binary cross-entropies over the known entries of truth (NaN: unknown), both (N, L)."""
    known = torch.isfinite(truth)
    losses = functional.binary_cross_entropy_with_logits(logits, torch.where(known, truth, 0.0), reduction="none")
    return torch.where(known, losses, 0.0).sum()


def asymmetric_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Sum of asymmetric losses (Ridnik et al. 2021) over the known entries of truth (NaN: unknown), both (N, L).

    The many easy negatives weigh less: by p to the power of 4, and those with p below 0.05 nothing. Truth between 0 and
    1 (mixed images) is a share of both losses.
    """
    known = torch.isfinite(truth)
    wanted = torch.where(known, truth, 0.0)
    shifted = (torch.sigmoid(logits) - _ASYMMETRIC_MARGIN).clamp(min=0)
    weight = shifted.detach() ** _ASYMMETRIC_POWER
    losses = -wanted * functional.logsigmoid(logits) - (1 - wanted) * weight * torch.log1p(-shifted)
    return torch.where(known, losses, 0.0).sum()


_ASYMMETRIC_MARGIN = 0.05
_ASYMMETRIC_POWER = 4
LOSS_FUNCTIONS = dict(zip(LOSSES, (masked_bce, asymmetric_loss), strict=True))


def mean_auroc(truth: NDArray[Any], scores: NDArray[Any]) -> float:
    """Mean AUROC over labels that have both classes among known entries; NaN if none has."""
    values = []
    for column in range(truth.shape[1]):
        known = np.isfinite(truth[:, column])
        try:
            values.append(auroc(truth[known, column], scores[known, column]))
        except MetricUndefined:
            continue
    return float(np.mean(values)) if values else math.nan


def learning_rate(step: int, steps: int, recipe: Recipe) -> float:
    """Linear warm-up over a share of all steps, then a cosine down to `min_lr`."""
    peak, floor = recipe.scaled_lr, min(recipe.min_lr, recipe.scaled_lr)
    warm = max(1, round(steps * recipe.warmup))
    if step < warm:
        return peak * (step + 1) / warm
    return floor + (peak - floor) * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm))) / 2


def optimiser_of(network: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW over the trainable parameters; vectors (norms, biases) and position embeddings are not decayed.

    Each group has the `scale` of its layer's learning rate.
    """
    plain = undecayed(network)
    depths = layer_depths(network) if recipe.layer_decay < 1 else {}
    top = max(depths.values(), default=0)
    groups: dict[tuple[int, bool], dict[str, Any]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            depth, decayed = depths.get(name, top), parameter.ndim > 1 and name not in plain
            group = groups.setdefault(
                (depth, decayed),
                {
                    "params": [],
                    "weight_decay": recipe.weight_decay if decayed else 0.0,
                    "scale": recipe.layer_decay ** (top - depth),
                },
            )
            group["params"].append(parameter)
    return torch.optim.AdamW([groups[key] for key in sorted(groups, reverse=True)], lr=recipe.scaled_lr)

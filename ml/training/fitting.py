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
from ml.training.config import Recipe

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
    """AdamW over the trainable parameters; vectors (norms, biases) are not decayed."""
    trained = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=recipe.scaled_lr)

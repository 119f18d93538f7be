"""The training loop: AdamW, warm-up and cosine, unweighted BCE, EMA of the weights, selection by validation AUROC.

Unweighted BCE is calibrated by itself; weighted losses are not. Evaluation always runs on the averaged weights.
"""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from ml.metrics import MetricUndefined, auroc
from ml.networks import CamNetwork
from ml.shards import FilmArray
from ml.training.augment import augment
from ml.training.checkpoint import Checkpoints
from ml.training.config import Recipe
from ml.training.forward import normalised, run, to_tensor
from ml.transforms import InputSpace


class TrainingDiverged(RuntimeError):
    """The loss became NaN or infinite."""


@dataclass(frozen=True, eq=False)
class Films:
    """Films uint8 (N, S, S), truth (N, L), and which of them to fit and to select by (indices; may be empty)."""

    squares: FilmArray
    truth: NDArray[np.float32]
    train: NDArray[np.intp]
    validation: NDArray[np.intp]


@dataclass
class Fit:
    """Result of `fit`: the chosen weights (of the average), the epoch they are of, and one line per epoch."""

    state: dict[str, Tensor] = field(default_factory=dict)
    epoch: int = 0
    score: float = -math.inf
    history: list[dict[str, float]] = field(default_factory=list)


def mean_auroc(truth: NDArray[Any], scores: NDArray[Any]) -> float:
    """Mean AUROC over labels that have both classes; NaN if none has."""
    values = []
    for column in range(truth.shape[1]):
        try:
            values.append(auroc(truth[:, column], scores[:, column]))
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


def _optimiser(network: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    trained = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=recipe.scaled_lr)


def _follow(average: nn.Module, network: nn.Module, decay: float) -> None:
    with torch.no_grad():
        for kept, new in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
            if kept.is_floating_point():
                kept.lerp_(new, 1 - decay)
            else:
                kept.copy_(new)


class _Run:
    """State of one fit; what a checkpoint stores and restores."""

    def __init__(self, network: CamNetwork, films: Films, space: InputSpace, recipe: Recipe) -> None:
        self.network, self.films, self.space, self.recipe = network, films, space, recipe
        self.device = next(network.parameters()).device
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(not name.startswith(recipe.frozen) if recipe.frozen else True)
        self.average = copy.deepcopy(network).eval()
        self.optimiser = _optimiser(network, recipe)
        self.generator = torch.Generator().manual_seed(recipe.seed)
        self.per_epoch = max(1, len(films.train) // recipe.batch_size)
        self.steps = self.per_epoch * recipe.epochs
        self.step = 0
        self.result = Fit()

    def epoch(self, number: int) -> float:
        """One pass over the training films; the mean loss."""
        self.network.train(not self.recipe.frozen_statistics)
        order = self.films.train[torch.randperm(len(self.films.train), generator=self.generator).numpy()]
        total = 0.0
        bar = tqdm(range(self.per_epoch), desc=f"Epoch {number + 1}/{self.recipe.epochs}", unit="step", leave=False)
        for index in bar:
            chosen = order[index * self.recipe.batch_size : (index + 1) * self.recipe.batch_size]
            loss = self._step(np.sort(chosen))
            total += loss
            bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
        return total / self.per_epoch

    def _step(self, chosen: NDArray[np.intp]) -> float:
        grey = augment(
            to_tensor(self.films.squares[chosen], self.device),
            self.recipe.train_size,
            self.recipe.augmentation,
            self.generator,
        )
        truth = torch.from_numpy(self.films.truth[chosen]).to(self.device)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.device.type == "cuda"):
            logits = self.network(normalised(grey, self.space))[0]
        loss = functional.binary_cross_entropy_with_logits(logits.float(), truth)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise TrainingDiverged(f"The loss is {value} at step {self.step}. Lower the learning rate.")
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.step, self.steps, self.recipe)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip)
        self.optimiser.step()
        self.step += 1
        # Early in a run a long memory would average in the first, bad weights.
        _follow(self.average, self.network, min(self.recipe.ema_decay, (1 + self.step) / (10 + self.step)))
        return value

    def score(self) -> float:
        """Validation mean AUROC of the averaged weights; NaN without validation films."""
        held = self.films.validation
        if not len(held):
            return math.nan
        logits = run(self.average, self.films.squares, self.space, self.recipe.batch_size, held).logits
        return mean_auroc(self.films.truth[held], logits)

    def note(self, epoch: int, loss: float) -> dict[str, float]:
        """Record an epoch and keep its weights if they are the best so far (the last ones, without a score)."""
        score = self.score()
        line = {"epoch": epoch + 1, "loss": loss, "validation_auroc": score}
        self.result.history.append(line)
        if math.isnan(score) or score > self.result.score:
            self.result.epoch = epoch + 1
            self.result.score = self.result.score if math.isnan(score) else score
            self.result.state = {k: v.detach().cpu().clone() for k, v in self.average.state_dict().items()}
        return line

    def state(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "generator": self.generator.get_state(),
            "step": self.step,
            "best": self.result.state,
            "best_epoch": self.result.epoch,
            "best_score": self.result.score,
            "history": self.result.history,
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.generator.set_state(state["generator"])
        self.step = state["step"]
        self.result = Fit(state["best"], state["best_epoch"], state["best_score"], list(state["history"]))


def fit(
    network: CamNetwork,
    films: Films,
    space: InputSpace,
    recipe: Recipe,
    checkpoints: Checkpoints | None = None,
    resume: bool = False,
    on_epoch: Callable[[dict[str, float]], None] | None = None,
) -> Fit:
    """Train `network` in place and load the chosen averaged weights into it.

    With checkpoints, each epoch is saved; `resume` continues after the newest intact one, to the same weights that an
    uninterrupted run gives on a CPU. Raises TrainingDiverged, ValueError.
    """
    if len(films.train) < recipe.batch_size:
        raise ValueError(f"{len(films.train)} training films are fewer than one batch of {recipe.batch_size}.")
    torch.manual_seed(recipe.seed)
    current = _Run(network, films, space, recipe)
    start = 0
    found = checkpoints.newest() if checkpoints and resume else None
    if found:
        start, state = found
        current.restore(state)
    for epoch in range(start, recipe.epochs):
        line = current.note(epoch, current.epoch(epoch))
        if checkpoints:
            checkpoints.save(epoch + 1, current.state())
        if on_epoch:
            on_epoch(line)
    network.load_state_dict(current.result.state)
    network.eval()
    return current.result


def indices(names: Sequence[str], chosen: Sequence[str]) -> NDArray[np.intp]:
    """Positions of `chosen` in `names`."""
    position = {name: index for index, name in enumerate(names)}
    return np.array([position[name] for name in chosen], dtype=np.intp)

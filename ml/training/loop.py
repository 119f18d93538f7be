"""The training loop: AdamW, warm-up and cosine, EMA of the weights, selection by validation AUROC.

The loss is unweighted BCE by default: it is calibrated by itself, weighted losses are not. Evaluation always runs on
the averaged weights. The global batch is the same with any number of ranks: each takes its share, and the gradient is
that of the whole.
"""

import math
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ml.model.networks import CamNetwork
from ml.model.transforms import InputSpace
from ml.training.augment import DRAWS, augment, mixed
from ml.training.average import Average, statistics
from ml.training.config import Recipe
from ml.training.feed import feed
from ml.training.fitting import (
    LOSS_FUNCTIONS,
    Execution,
    Fit,
    Stopped,
    TrainingData,
    TrainingDiverged,
    learning_rate,
    mean_auroc,
    optimiser_of,
)
from ml.training.forward import normalised, run, unit
from ml.training.order import epoch_order, global_batch, pieces, share, uniforms
from ml.training.pace import Pace
from ml.training.world import World

Notice = Callable[..., None]


class Loop:
    """State of one fit on one rank; what a checkpoint stores and restores."""

    def __init__(
        self,
        network: CamNetwork,
        data: TrainingData,
        space: InputSpace,
        recipe: Recipe,
        world: World,
        execution: Execution,
    ) -> None:
        self.network, self.data, self.space, self.recipe = network, data, space, recipe
        self.world, self.execution = world, execution
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(not name.startswith(recipe.frozen) if recipe.frozen else True)
        self.average = Average(network)
        self.loss_function = LOSS_FUNCTIONS[recipe.loss]
        self.optimiser = optimiser_of(network, recipe)
        self.per_epoch = len(data.train) // recipe.batch_size
        self.steps = self.per_epoch * recipe.epochs
        self.epoch = 0
        self.step = 0
        self.loss_sum = 0.0
        self.result = Fit()
        self.saved = time.monotonic()
        self.feed = feed(data.squares, world.device)
        largest = len(share(data.train[: recipe.batch_size], 0, world.size))
        self.accumulates = len(pieces(data.train[:largest], execution.micro_batch)) > 1
        self.parallel = world.wrap(network, static=not self.accumulates, compress=execution.compress)
        self.forward: Any = execution.compiled(self.parallel)

    @property
    def images_seen(self) -> int:
        """Images that the weights were fitted on so far, over all ranks."""
        return (self.epoch * self.per_epoch + self.step) * self.recipe.batch_size

    def rate(self, step: int) -> float:
        """Learning rate of a step of the current epoch."""
        return learning_rate(self.epoch * self.per_epoch + step, self.steps, self.recipe)

    def run_epoch(self, notice: Notice, stop: threading.Event, save: Callable[[], None]) -> Pace:
        """The rest of the current epoch. Raises Stopped after a checkpoint, TrainingDiverged."""
        self.network.train(not self.recipe.frozen_statistics)
        order = epoch_order(self.data.train, self.recipe.seed, self.epoch)
        first = self.step
        batches = [global_batch(order, step, self.recipe.batch_size) for step in range(first, self.per_epoch)]
        mine = [
            piece
            for batch in batches
            for piece in pieces(share(batch, self.world.rank, self.world.size), self.execution.micro_batch)
        ]
        pace = Pace(self.recipe.batch_size)
        images = self.feed.pieces(mine)
        late: Tensor | None = None
        try:
            for batch in batches:
                pace.begin()
                status = self._step(batch, images, pace, stop)
                self.step += 1
                # On a GPU the figures are read one step late, so that it never waits for the CPU.
                ready, late = (late, status) if self.world.device.type == "cuda" else (status, None)
                pace.end()
                if ready is not None:
                    self._handle_status(ready, pace, notice, save)
            if late is not None:
                self._handle_status(late, pace, notice, save)
        finally:
            images.close()  # type: ignore[attr-defined]
        return pace

    def _step(self, batch: NDArray[np.intp], images: Any, pace: Pace, stop: threading.Event) -> Tensor:
        """Forward, backward and update; returns (mean loss, stop, save) over all ranks, on the device."""
        device = self.world.device
        known = int(np.isfinite(self.data.truth[batch]).sum())
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate(self.step) * group["scale"]
        self.optimiser.zero_grad(set_to_none=True)
        own = pieces(share(batch, self.world.rank, self.world.size), self.execution.micro_batch)
        total = torch.zeros((), device=device, dtype=torch.float64)
        for index, chosen in enumerate(own):
            squares, waited = next(images)
            pace.waited(waited)
            last = index == len(own) - 1
            with nullcontext() if last else self.world.no_sync(self.parallel):
                loss = self._loss(squares, chosen, index)
                if last:
                    pace.computed()
                # DDP divides by the number of ranks; the gradient must be that of the global batch's mean.
                (loss * (self.world.size / max(known, 1))).backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip)
        self.optimiser.step()
        self.average.follow(self.recipe.ema_decay(self.steps), self.epoch * self.per_epoch + self.step + 1)
        due = time.monotonic() - self.saved > self.execution.checkpoint_seconds
        flags = torch.tensor([float(stop.is_set()), float(self.world.chief and due)], dtype=torch.float64)
        status = torch.cat([(total / max(known, 1))[None], flags.to(device)])
        return self.world.add(status)

    def _loss(self, squares: Tensor, chosen: NDArray[np.intp], piece: int) -> Tensor:
        draws = torch.from_numpy(uniforms(self.recipe.seed, self.epoch, chosen, DRAWS))
        grey = augment(unit(squares), self.recipe.train_size, self.recipe.augmentation, draws)
        truth = torch.from_numpy(self.data.truth[chosen]).to(self.world.device, non_blocking=True)
        at = (self.recipe.seed, self.epoch, self.step, self.world.rank, piece)
        if self.recipe.mixup:
            grey, truth = mixed(grey, truth, self.recipe.mixup, np.random.default_rng(at))
        if self.recipe.drop_path:
            # What is left out is a function of the step, as all random numbers: a resumed run goes on as it would have.
            torch.manual_seed(int(np.random.default_rng((*at, 1)).integers(2**62)))
        with torch.autocast(self.world.device.type, dtype=torch.bfloat16, enabled=self.world.device.type == "cuda"):
            logits = self.forward(normalised(grey, self.space))[0]
        return self.loss_function(logits.float(), truth)

    def _handle_status(self, status: Tensor, pace: Pace, notice: Notice, save: Callable[[], None]) -> None:
        loss, stop, due = status.tolist()
        if not math.isfinite(loss):
            raise TrainingDiverged(
                f"The loss is {loss} at step {self.step} of epoch {self.epoch + 1}. Lower the learning rate (--lr), or "
                "start from other weights."
            )
        self.loss_sum += loss
        if pace.due():
            at = {"epoch": self.epoch + 1, "step": self.step, "steps": self.per_epoch}
            notice("step", **at, loss=loss, lr=self.rate(self.step - 1), **pace.lately())
        if stop or due:
            save()
        if stop:
            raise Stopped("A signal stopped the training; its checkpoint is written. Start it again to go on.")

    def score(self) -> float:
        """Validation mean AUROC of the averaged weights; NaN without validation images.

        Each rank evaluates its share without padding; every image is counted exactly once.
        """
        held = self.data.validation
        if not len(held):
            return math.nan
        chosen = slice(self.world.rank, None, self.world.size)
        mine, (squares, rows) = held[chosen], self.data.held_images(chosen)
        size = max(1, self.execution.micro_batch or self.recipe.batch_size // self.world.size)
        logits = np.empty((0, self.data.truth.shape[1]), np.float32)
        if len(mine):
            logits = run(self.average.network, squares, self.space, size, rows, mixed=True).logits
        shares = self.world.gather((mine, logits))
        return mean_auroc(*joined(held, shares, self.data.truth))

    def synchronise(self) -> None:
        """Give all ranks the same batch-norm statistics: the mean of what each measured on its images."""
        self.world.average([*statistics(self.network), *statistics(self.average.network)])

    def end_epoch(self) -> dict[str, float]:
        """Count the epoch, and keep its weights if they are the best so far (the last ones, without a score)."""
        score = self.score()
        line = {"epoch": self.epoch + 1, "loss": self.loss_sum / self.per_epoch, "validation_auroc": score}
        self.epoch, self.step, self.loss_sum = self.epoch + 1, 0, 0.0
        self.result.history.append(line)
        if math.isnan(score) or score > self.result.score:
            self.result.epoch = self.epoch
            self.result.score = self.result.score if math.isnan(score) else score
            self.result.state = {k: v.detach().cpu().clone() for k, v in self.average.network.state_dict().items()}
        return line

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on; random numbers are functions of it."""
        return {
            "network": self.network.state_dict(),
            "average": self.average.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "epoch": self.epoch,
            "step": self.step,
            "loss_sum": self.loss_sum,
            "best": self.result.state,
            "best_epoch": self.result.epoch,
            "best_score": self.result.score,
            "history": self.result.history,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of `state`."""
        self.network.load_state_dict(state["network"])
        self.average.network.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.epoch, self.step, self.loss_sum = state["epoch"], state["step"], state["loss_sum"]
        self.result = Fit(state["best"], state["best_epoch"], state["best_score"], list(state["history"]))


def joined(
    held: NDArray[np.intp], shares: Sequence[tuple[NDArray[np.intp], NDArray[Any]]], truth: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """Truth and scores of the images `held`, in their order, from what each rank evaluated.

    Raises RuntimeError unless each image is there exactly once.
    """
    indices = np.concatenate([each[0] for each in shares])
    if not np.array_equal(np.sort(indices), np.sort(held)):
        raise RuntimeError(f"{len(indices)} evaluated films are not the {len(held)} of the validation list.")
    scores = np.concatenate([each[1] for each in shares])
    back = np.argsort(indices, kind="stable")[np.argsort(np.argsort(held, kind="stable"), kind="stable")]
    return truth[held], scores[back]

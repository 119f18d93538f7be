"""Fit a network: alone or together with other ranks, from the start or from a checkpoint."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ml.model.networks import CamNetwork
from ml.model.transforms import InputSpace
from ml.training.checkpoint import Checkpoints
from ml.training.config import Recipe
from ml.training.fitting import Execution, Fit, TrainingData
from ml.training.loop import Loop
from ml.training.world import World

Notice = Callable[..., None]


def _ignore(event: str, **fields: Any) -> None:
    """The progress of a fit that reports none."""


def fit(
    network: CamNetwork,
    data: TrainingData,
    space: InputSpace,
    recipe: Recipe,
    checkpoints: Checkpoints | None = None,
    resume: bool = False,
    notice: Notice = _ignore,
    *,
    world: World | None = None,
    execution: Execution | None = None,
    stop: threading.Event | None = None,
) -> Fit:
    """Train `network` in place and load the chosen averaged weights into it.

    With checkpoints, each epoch is saved, and the steps between every few minutes; `resume` continues after the newest
    intact one that any rank has, to the same weights that an uninterrupted run gives on a CPU. `notice(event,
    **fields)` is called after steps and epochs. Raises TrainingDiverged, Stopped, CheckpointFailed, ValueError.
    """
    world = world or World(next(network.parameters()).device)
    if len(data.train) < recipe.batch_size:
        raise ValueError(f"{len(data.train)} training films are fewer than one batch of {recipe.batch_size}.")
    if recipe.batch_size < world.size:
        raise ValueError(f"A batch of {recipe.batch_size} films can't be shared by {world.size} ranks. Enlarge it.")
    torch.manual_seed(recipe.seed)
    loop = Loop(network, data, space, recipe, world, execution or Execution())
    state = _newest(checkpoints, world) if checkpoints and resume else None
    if state:
        loop.restore(state)
    notice("ready", epochs=recipe.epochs, steps_per_epoch=loop.per_epoch, resumed_epoch=loop.epoch if state else 0)

    def save() -> None:
        loop.synchronise()
        if checkpoints and world.chief:
            best = loop.result.epoch * loop.per_epoch * recipe.batch_size
            checkpoints.save(loop.images_seen, loop.state(), best)
        loop.saved = time.monotonic()

    while loop.epoch < recipe.epochs:
        pace = loop.run_epoch(notice, stop or threading.Event(), save)
        loop.synchronise()
        ranks = world.gather(pace.ranks_line(world.rank))
        whole = pace.whole()
        rate = loop.rate(loop.per_epoch - 1)
        line = loop.end_epoch()
        save()
        notice("epoch", **line, lr=rate, ranks=ranks, **whole)
    network.load_state_dict(loop.result.state)
    network.eval()
    return loop.result


def _newest(checkpoints: Checkpoints, world: World) -> dict[str, Any] | None:
    """The newest state that any rank finds in its folder: the chief may now be on a node without checkpoints."""
    found = checkpoints.newest()
    seen = world.gather(found.images_seen if found else -1)
    owner = int(np.argmax(seen))
    if seen[owner] < 0:
        return None
    body = world.from_rank(found.body if found and world.rank == owner else None, owner)
    return checkpoints.state(body)


def indices(names: Sequence[str], chosen: Sequence[str]) -> NDArray[np.intp]:
    """Positions of `chosen` in `names`."""
    position = {name: index for index, name in enumerate(names)}
    return np.array([position[name] for name in chosen], dtype=np.intp)

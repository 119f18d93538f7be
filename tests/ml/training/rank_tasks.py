"""What the ranks of a test do, in processes of their own. Imported by a fork server once, so each costs no start."""

import multiprocessing
import os
import queue
import sys
import threading
from collections.abc import Callable
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch._dynamo  # torch.optim imports it at first use, which takes seconds
from torch import nn
from torch.distributed import FileStore

from ml.model.networks import CamNetwork
from ml.model.transforms import InputSpace
from ml.training.augment import DRAWS, augment
from ml.training.checkpoint import Checkpoints
from ml.training.config import Augmentation, Recipe, TrainingConfig
from ml.training.fit import fit
from ml.training.fitting import Execution, TrainingData, TrainingDiverged, masked_bce
from ml.training.forecast import forecast
from ml.training.forward import normalised, unit
from ml.training.loop import Loop
from ml.training.order import uniforms
from ml.training.rank import Rank
from ml.training.world import Group, World

SPACE = InputSpace(32)
STILL = Augmentation(min_area=1.0, degrees=0, flip=0, gamma=0, contrast=0, brightness=0)
RECIPE = Recipe(epochs=3, batch_size=10, lr=0.1, warmup=0.1, ema_films=100, train_size=32)


class Features(nn.Module):
    """Two convolutions; batch norm on request: with it, the result of one image depends on the others of its batch."""

    def __init__(self, norm: bool) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, stride=2)
        self.norm = nn.BatchNorm2d(8) if norm else nn.Identity()
        self.second = nn.Conv2d(8, 16, 3, stride=2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.second(torch.relu(self.norm(self.first(images)))))


def network(norm: bool = False) -> CamNetwork:
    torch.manual_seed(3)
    return CamNetwork(Features(norm), 16, 14)


def data(count: int = 64, held: int = 11) -> TrainingData:
    rng = np.random.default_rng(5)
    squares = rng.integers(0, 256, (count + held, 32, 32), dtype=np.uint8)
    truth = (rng.random((count + held, 14)) < 0.4).astype(np.float32)
    truth[rng.random(truth.shape) < 0.1] = np.nan
    everything = np.arange(count + held)
    return TrainingData(squares, truth, everything[:count], everything[count:])


def in_processes(size: int, task: Callable[..., Any], *arguments: Any) -> list[Any]:
    """`task(rank, size, *arguments)` in `size` processes at once; what each returned. An exception is raised here."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    with pytest.MonkeyPatch.context() as patch:
        # The server of Python 3.11 forgets the path that it is given.
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        forkserver.ensure_running()
    answers: Any = context.Queue()
    processes = [
        context.Process(target=_process, args=(rank, size, answers, task, arguments), daemon=True)
        for rank in range(size)
    ]
    for process in processes:
        process.start()
    results: dict[int, Any] = {}
    try:
        while len(results) < size:
            rank, result = answers.get(timeout=90)
            results[rank] = result
    except queue.Empty:
        raise TimeoutError(f"Only ranks {sorted(results)} of {size} answered.") from None
    finally:
        for process in processes:
            process.join(60)
            process.kill()
    for result in results.values():
        if isinstance(result, BaseException):
            raise result
    return [results[rank] for rank in range(size)]


def _process(rank: int, size: int, answers: Any, task: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    try:
        answers.put((rank, task(rank, size, *arguments)))
    except BaseException as error:
        answers.put((rank, error))


def in_ranks(size: int, folder: Path, task: Callable[..., Any], *arguments: Any) -> list[Any]:
    """`task(world, *arguments)` in `size` gloo ranks at once; what each returned."""
    store = folder / f"store-{len(list(folder.glob('store-*')))}"
    return in_processes(size, _in_group, store, task, arguments)


def _in_group(rank: int, size: int, store: Path, task: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    world = Group(torch.device("cpu"), FileStore(str(store), size), rank, size, backend="gloo", timeout=30)
    result = task(world, *arguments)
    world.leave()
    return result


def rank_process(rank: int, size: int, folder: Path, port: int, configs: list[TrainingConfig]) -> tuple[bool, str]:
    """A whole rank as the elastic agent starts it, with settings of its own: what it returns."""
    environment = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": size, "RANK": rank}
    environment |= {"GROUP_RANK": rank, "LOCAL_RANK": 0}
    os.environ.update({name: str(value) for name, value in environment.items()})
    run = folder / f"rank-{rank}.json"
    run.write_text(configs[rank].to_json())
    return Rank(run, join_timeout=60, launched=0, is_chief_node=rank == size - 1).run()


def gradients(world: World, micro_batch: int, norm: bool) -> dict[str, np.ndarray]:
    """Gradients of the first step, before they are clipped and applied."""
    made = network(norm)
    loop = Loop(made, data(), SPACE, RECIPE, world, Execution(micro_batch=micro_batch))
    kept: dict[str, np.ndarray] = {}

    def keep(optimiser: Any, *rest: Any) -> None:
        kept.update({n: p.grad.numpy().copy() for n, p in made.named_parameters() if p.grad is not None})

    loop.recipe = Recipe(**{**vars(RECIPE), "clip": float("inf")})
    loop.optimiser.register_step_pre_hook(keep)
    run_one_step(loop)
    return kept


def run_one_step(loop: Loop) -> None:
    loop.per_epoch = 1
    loop.run_epoch(lambda *_, **__: None, threading.Event(), lambda: None)


def fitted(
    world: World, folder: Path | None, recipe: Recipe, until: int | None = None, norm: bool = False
) -> tuple[list[Any], dict[str, np.ndarray]]:
    """Fit (resuming), and give the curve and the weights; with `until`, break off after that epoch."""

    class Enough(Exception):
        pass

    def notice(event: str, **line: Any) -> None:
        if event == "epoch" and line["epoch"] == until:
            raise Enough

    made = network(norm)
    checkpoints = Checkpoints(folder, "same") if folder else None
    try:
        result = fit(made, data(), SPACE, recipe, checkpoints, True, notice, world=world)
    except Enough:
        return [], {}
    return result.history, {k: v.numpy() for k, v in made.state_dict().items()}


def diverging(world: World) -> str:
    """The weights of one rank stop being numbers."""
    made = network()

    def notice(event: str, **line: Any) -> None:
        if event == "ready" and world.rank == 1:
            made.classifier.bias.data.fill_(torch.nan)

    try:
        fit(made, data(), SPACE, RECIPE, notice=notice, world=world)
    except TrainingDiverged as error:
        return str(error)
    return ""


def scored(world: World) -> tuple[float, list[int]]:
    """Validation score, and how many images each rank evaluated."""
    loop = Loop(network(), data(), SPACE, RECIPE, world, Execution())
    return loop.score(), [len(loop.data.validation[rank :: world.size]) for rank in range(world.size)]


def forecasted(world: World) -> dict[str, Any] | None:
    found = forecast(world, network(), 32, 8)
    return found.to_dict() if found else None


def mean_of_parts(parts: list[np.ndarray], norm: bool) -> dict[str, np.ndarray]:
    """By hand: the gradient of the mean over all known entries, each part through a forward of its own."""
    shown, made = data(), network(norm).train()
    known = sum(int(np.isfinite(shown.truth[part]).sum()) for part in parts)
    for part in parts:
        draws = torch.from_numpy(uniforms(0, 0, part, DRAWS))
        grey = augment(unit(torch.from_numpy(shown.squares[part])), 32, RECIPE.augmentation, draws)
        loss = masked_bce(made(normalised(grey, SPACE))[0], torch.from_numpy(shown.truth[part]))
        (loss / known).backward()
    return {n: p.grad.numpy() for n, p in made.named_parameters() if p.grad is not None}

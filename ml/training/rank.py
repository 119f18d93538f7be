"""One rank, started by the elastic agent: it joins the others, compares itself with them, and trains.

A rank that fails as all ranks do and would again (wrong data) returns the reason. Any other error ends its process, and
the elastic agents start all ranks again.
"""

import fcntl
import hashlib
import logging
import os
import signal
import socket
import threading
import time
import traceback
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ml.model.networks import CamNetwork
from ml.training import progress
from ml.training.config import TrainingConfig
from ml.training.fitting import Stopped, TrainingDiverged
from ml.training.forecast import forecast
from ml.training.processes import TrainingFailed
from ml.training.rank_store import RankStore
from ml.training.report import ProgressReporter
from ml.training.run import Prepared, device_of, prepare, train, write_artifact
from ml.training.weights import initial_network
from ml.training.world import Group, World

_LOCK_SECONDS = 10
_LEAST_JOIN_SECONDS = 60.0
"""Importing torch alone may take that long on a busy machine."""
_COMPARED = ("code revision", "torch version", "kind of device", "data set", "initial weights")
_SAME_ON_ALL = (TrainingFailed, TrainingDiverged, ValueError)
"""Errors that all ranks of a training raise together; a restart would not help."""


class _Ready(NamedTuple):
    """What a rank has read before it trains."""

    config: TrainingConfig
    device: torch.device
    prepared: Prepared
    network: CamNetwork


class Rank:
    """Everything that one rank does."""

    def __init__(self, run: Path, join_timeout: float, launched: float, is_chief_node: bool) -> None:
        """`run` is the file of settings, `launched` the time of the launch in seconds since the epoch."""
        self.settings, self.join_timeout, self.launched = run, join_timeout, launched
        self.is_chief_node, self.is_alone = is_chief_node, int(os.environ["WORLD_SIZE"]) == 1
        self.store: RankStore | None = None
        self._stop = threading.Event()
        self._output: Any = None

    @property
    def is_chief(self) -> bool:
        """Whether it alone writes progress, checkpoints and the artifact."""
        return self.store.rank == 0 if self.store else self.is_alone

    def run(self) -> tuple[bool, str]:
        """The whole of it: whether it is the chief, and why all ranks failed. Raises what a restart may repair."""
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", force=True)
        try:
            self._train()
        except Stopped:
            raise
        except Exception as error:
            if not self.is_alone and not isinstance(error, _SAME_ON_ALL):
                raise
            traceback.print_exc()
            if self.store:
                self.store.leave(failed=True)
            return self.is_chief, reason_of(error)
        return self.is_chief, ""

    def _train(self) -> None:
        if not self.is_alone:
            self.store = RankStore(self.is_chief_node, max(_LEAST_JOIN_SECONDS, self.join_timeout))
        ready, problem = None, ""
        try:
            ready = self._prepare()
        except Exception as error:
            if self.store is None:
                raise
            problem = reason_of(error)
        world = self._join(ready, problem)
        assert ready is not None
        config, device, prepared, network = ready
        network.to(device).to(memory_format=torch.channels_last)
        expected = forecast(world, network, config.recipe.train_size, -(-config.recipe.batch_size // world.size))
        reporter = ProgressReporter(config, prepared, world, expected, self.launched)
        before = signal.signal(signal.SIGTERM, lambda number, frame: self._stop.set())
        chosen = train(config, prepared, network, world, reporter, self._stop, expected)
        signal.signal(signal.SIGTERM, before)
        if world.chief:
            ranks = f"{world.size} ranks on {world.nodes} nodes" if world.size > 1 else "one process"
            sha256 = write_artifact(config, prepared, network, chosen, ranks).sha256
            score = chosen.score if chosen.score > 0 else None
            reporter("artifact", sha256=sha256, selected_epoch=chosen.epoch, validation_auroc=score)
        reporter.close()
        if self.store:
            self.store.leave()
        world.leave()

    def _prepare(self) -> _Ready:
        config = TrainingConfig.from_json(self.settings.read_text())
        if config.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            torch.use_deterministic_algorithms(True)
            torch.backends.cudnn.benchmark = False
        device = device_of(config.device, int(os.environ["LOCAL_RANK"]))
        if self.is_chief:
            self._lock_output(config.out)
        prepared = prepare(config)
        recipe, size = config.recipe, config.input_size
        network = initial_network(config.architecture, config.init_weights, recipe.seed, size, recipe.drop_path)
        return _Ready(config, device, prepared, network)

    def _lock_output(self, out: Path) -> None:
        """Hold the folder's progress file: two trainings in one folder would mix their checkpoints."""
        out.mkdir(parents=True, exist_ok=True)
        self._output = (out / progress.FILE).open("ab")
        until = time.monotonic() + _LOCK_SECONDS
        while True:
            try:
                return fcntl.flock(self._output, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if time.monotonic() > until:
                    raise OSError(f"Another training writes to {out}. Stop it, or give another --out.") from error
                time.sleep(0.3)

    def _join(self, ready: _Ready | None, problem: str) -> World:
        """The process group. Raises TrainingFailed, with the same message on all ranks, unless all train the same."""
        device = ready.device if ready else torch.device("cpu")
        if self.store is None:
            return World(device)
        cuda = device.type == "cuda"
        ranks = self.store.exchange(
            "rank",
            {
                "host": socket.gethostname(),
                "node": os.environ["GROUP_RANK"],
                "gpu": str(torch.cuda.get_device_properties(device).uuid) if cuda else "",
                "problem": problem,
                "code revision": revision()[:12],
                "torch version": torch.__version__,
                "kind of device": device.type,
                "data set": ready.prepared.identity[:12] if ready else "",
                "initial weights": weights_sha256(ready.network)[:12] if ready else "",
                "settings": ready.config.shared() if ready else {},
            },
        )
        if (differs := disagreement(ranks)) or ready is None:
            raise TrainingFailed(differs)
        if cuda:
            torch.cuda.set_device(device)
        gpus = {rank["gpu"] for rank in ranks}
        backend = "nccl" if len(gpus) == len(ranks) and all(gpus) else "gloo"
        timeout = ready.config.collective_timeout
        store = self.store.for_group(timeout)
        world = Group(device, store, self.store.rank, self.store.size, backend=backend, timeout=timeout)
        world.nodes = len({rank["node"] for rank in ranks})
        return world


def disagreement(ranks: list[dict[str, Any]]) -> str:
    """Which rank differs from the chief in what, or has a problem; empty if all agree."""
    for number, rank in enumerate(ranks):
        if rank["problem"]:
            return f"Rank {number} on {rank['host']}: {rank['problem']}"
    chief = _compared(ranks[0])
    for number, rank in enumerate(ranks):
        own = _compared(rank)
        for what in sorted({*own, *chief}, key=[*chief, *own].index):
            if own.get(what) != chief.get(what):
                return (
                    f"Rank {number} on {rank['host']} has another {what} ({own.get(what)} instead of "
                    f"{chief.get(what)}) than the chief on {ranks[0]['host']}. "
                    "Give all nodes the same release, the same options, films and weights."
                )
    return ""


def _compared(rank: dict[str, Any]) -> dict[str, Any]:
    return {**{what: rank[what] for what in _COMPARED}, **rank["settings"]}


def weights_sha256(network: torch.nn.Module) -> str:
    """Hash of all tensors of a network: the averaged weights of each rank start from its own."""
    digest = hashlib.sha256()
    for name, value in network.state_dict().items():
        digest.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def reason_of(error: BaseException) -> str:
    """One line for people."""
    lines = str(error).strip().splitlines()
    first = lines[0] if lines else type(error).__name__
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return "The GPU's memory is too small for a rank's share of the batch: give --micro-batch, such as 64."
    known = type(error).__module__.startswith("ml.") or isinstance(error, OSError | ValueError)
    return first if known else f"{type(error).__name__}: {first}"


def revision() -> str:
    """Hash of this package's sources: ranks with another one compute something else."""
    root = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root).as_posix()}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()

"""A rank from its start to its end: it joins the others, compares itself with them, trains, and reports how it ended.

A rank that is done, or fails as all ranks do and would again (wrong data), writes an outcome and exits with status 0.
Any other error ends the process, and the elastic agents start all ranks again.
"""

import fcntl
import logging
import os
import platform
import signal
import socket
import threading
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ml.model.networks import CamNetwork
from ml.training import progress
from ml.training.config import TrainingConfig
from ml.training.fitting import Fit, Stopped, TrainingDiverged
from ml.training.forecast import forecast
from ml.training.processes import Outcome, revision, write_outcome
from ml.training.rank_store import RankStore, Unreachable
from ml.training.report import ProgressReporter
from ml.training.run import Prepared, device_of, prepare, train, write_artifact
from ml.training.weights import initial_network
from ml.training.world import Group, World

_LOCK_SECONDS = 10
_LOCK_POLL_SECONDS = 0.3
_LEAST_JOIN_SECONDS = 60.0
"""Importing torch alone may take that long on a busy machine."""
_COMPARED = ("code revision", "torch version", "settings", "data set")


class Disagreement(Exception):
    """The ranks can't train together: one has another data set, other settings, another revision, or an error."""


class OutputTaken(Exception):
    """Another training writes to the output folder."""


_SAME_ON_ALL = (Disagreement, Unreachable, TrainingDiverged, ValueError)
"""Errors that all ranks of a training raise together; a restart would not help."""


@dataclass(frozen=True, eq=False)
class _Ready:
    """What a rank has read before it trains."""

    config: TrainingConfig
    device: torch.device
    prepared: Prepared
    network: CamNetwork


class Session:
    """Everything that one rank does."""

    def __init__(
        self, settings: Path, logs: Path, local_rank: int, is_chief_node: bool, join_timeout: float, launched: float
    ) -> None:
        """`logs` is the folder of the outcome, `launched` the time of the launch in seconds since the epoch."""
        self.settings, self.logs, self.local_rank, self.out = settings, logs, local_rank, settings.parent
        self.is_chief_node, self.join_timeout, self.launched = is_chief_node, join_timeout, launched
        self.store: RankStore | None = None
        self.chief = int(os.environ["WORLD_SIZE"]) == 1
        self._stop = threading.Event()
        self._output: Any = None

    def run(self) -> None:
        """The whole of it. Raises what a restart may repair."""
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", force=True)
        try:
            self._train()
        except Stopped:
            raise
        except Exception as error:
            if self.store and not isinstance(error, _SAME_ON_ALL):
                raise
            traceback.print_exc()
            self._write_outcome("failed", reason_of(error))
            if self.store:
                self.store.leave(failed=True)
        else:
            self._write_outcome("done")

    def _write_outcome(self, state: str, reason: str = "") -> None:
        write_outcome(self.logs, self.local_rank, Outcome(state, self.chief, reason))

    def _train(self) -> None:
        if not self.chief:
            self.store = RankStore(self.is_chief_node, max(_LEAST_JOIN_SECONDS, self.join_timeout))
            self.chief = self.store.rank == 0
        self._write_outcome("running")
        ready: _Ready | None = None
        problem = ""
        try:
            ready = self._prepare()
        except Exception as error:
            if self.store is None:
                raise
            problem = reason_of(error)
        world = self._join(ready, problem)
        assert ready is not None
        config, prepared, network = ready.config, ready.prepared, ready.network
        network.to(ready.device).to(memory_format=torch.channels_last)
        expected = forecast(world, network, config.recipe.train_size, -(-config.recipe.batch_size // world.size))
        reporter = ProgressReporter(config, prepared, world, expected, self.launched)
        before = signal.signal(signal.SIGTERM, lambda number, frame: self._stop.set())
        chosen = train(config, prepared, network, world, reporter, self._stop, expected)
        signal.signal(signal.SIGTERM, before)
        self._write_artifact(ready, world, chosen)
        reporter.close()
        if self.store:
            self.store.leave()
        world.leave()

    def _prepare(self) -> _Ready:
        config = TrainingConfig.from_json(self.settings.read_text())
        self.out = config.out
        if config.deterministic:
            _be_deterministic()
        device = device_of(config.device, self.local_rank)
        if self.chief:
            self._lock_output()
        prepared = prepare(config)
        network = initial_network(config.architecture, config.init_weights, config.recipe.seed)
        return _Ready(config, device, prepared, network)

    def _lock_output(self) -> None:
        """Hold the folder's progress file: two trainings in one folder would mix their checkpoints."""
        self.out.mkdir(parents=True, exist_ok=True)
        self._output = (self.out / progress.FILE).open("ab")
        until = time.monotonic() + _LOCK_SECONDS
        while True:
            try:
                fcntl.flock(self._output, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except OSError as error:
                if time.monotonic() > until:
                    raise OutputTaken(
                        f"Another training writes to {self.out}. Stop it, or give another --out."
                    ) from error
                time.sleep(_LOCK_POLL_SECONDS)

    def _join(self, ready: _Ready | None, problem: str) -> World:
        """The process group. Raises Disagreement, with the same message on all ranks, unless all train the same."""
        device = ready.device if ready else torch.device("cpu")
        if self.store is None:
            return World(device)
        ranks = self.store.exchange(
            "rank",
            {
                "host": socket.gethostname(),
                "node": os.environ["GROUP_RANK"],
                "card": [platform.node(), _card(device)],
                "problem": problem,
                "code revision": revision()[:12],
                "torch version": torch.__version__,
                "settings": ready.config.fingerprint() if ready else "",
                "data set": ready.prepared.identity[:12] if ready else "",
            },
        )
        differs = disagreement(ranks)
        if differs or ready is None:
            raise Disagreement(differs)
        if device.type == "cuda":
            torch.cuda.set_device(device)
        cards = {tuple(rank["card"]) for rank in ranks}
        distinct = device.type == "cuda" and len(cards) == len(ranks) and all(card for _, card in cards)
        timeout = ready.config.collective_timeout
        store, backend = self.store.for_group(timeout), "nccl" if distinct else "gloo"
        world = Group(device, store, self.store.rank, self.store.size, backend=backend, timeout=timeout)
        world.nodes = len({rank["node"] for rank in ranks})
        return world

    def _write_artifact(self, ready: _Ready, world: World, chosen: Fit) -> None:
        if not world.chief:
            return
        ranks = f"{world.size} ranks on {world.nodes} nodes" if world.size > 1 else "one process"
        manifest = write_artifact(ready.config, ready.prepared, ready.network, chosen, ranks)
        progress.append(
            self.out / progress.FILE,
            "artifact",
            sha256=manifest.sha256,
            selected_epoch=chosen.epoch,
            validation_auroc=chosen.score if chosen.score > 0 else None,
        )


def disagreement(ranks: list[dict[str, Any]]) -> str:
    """Which rank differs from the chief in what, or has a problem; empty if all agree."""
    for number, rank in enumerate(ranks):
        if rank["problem"]:
            return f"Rank {number} on {rank['host']}: {rank['problem']}"
    chief = ranks[0]
    for number, rank in enumerate(ranks):
        for what in _COMPARED:
            if rank[what] != chief[what]:
                values = "" if what == "settings" else f" ({rank[what]} instead of {chief[what]})"
                return (
                    f"Rank {number} on {rank['host']} has another {what}{values} than the chief on {chief['host']}. "
                    "Give all nodes the same release, the same options and the same films."
                )
    return ""


def reason_of(error: BaseException) -> str:
    """One line for people."""
    lines = str(error).strip().splitlines()
    first = lines[0] if lines else type(error).__name__
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return "The GPU's memory is too small for a rank's share of the batch: give --micro-batch, such as 64."
    known = type(error).__module__.startswith("ml.") or isinstance(error, OSError | ValueError)
    return first if known else f"{type(error).__name__}: {first}"


def _be_deterministic() -> None:
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False


def _card(device: torch.device) -> str:
    return str(torch.cuda.get_device_properties(device).uuid) if device.type == "cuda" else ""

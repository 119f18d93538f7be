"""A rank from its start to its end: meeting the others, comparing with them, training, and saying how it ended."""

import fcntl
import logging
import os
import platform
import signal
import socket
import threading
import time
import traceback
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from ml.training import progress
from ml.training.board import Board
from ml.training.config import TrainingConfig
from ml.training.fitting import Fit, Stopped
from ml.training.forecast import Forecast, forecast
from ml.training.meeting import POLL_SECONDS, Meeting
from ml.training.pace import stragglers
from ml.training.processes import PREFERRED_VARIABLE, SINCE_VARIABLE, Record, revision, write_record
from ml.training.run import Prepared, device_of, execution_of, prepare, train, write_artifact
from ml.training.weights import initial_network
from ml.training.world import Group, World

LOG = logging.getLogger(__name__)

_BROKEN_LINK = ("gloo", "nccl", "connection", "timed out", "socket", "broken pipe")
_LOCK_SECONDS = 10


class Disagreement(Exception):
    """The ranks can't train together: one has another data set, other settings, another revision, or an error."""


class OutputTaken(Exception):
    """Another training writes to the output folder."""


class Session:
    """Everything that one rank does."""

    def __init__(self, settings: Path, logs: Path, local_rank: int) -> None:
        self.settings, self.logs, self.local_rank = settings, logs, local_rank
        self.stop = threading.Event()
        self.meeting: Meeting | None = None
        self.chief = False
        self.out = settings.parent
        self._training = False
        self._telling = threading.Lock()
        self._told = False
        self._lock: Any = None

    def run(self) -> int:
        """The whole of it; the exit status."""
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", force=True)
        signal.signal(signal.SIGTERM, self._asked_to_stop)
        signal.signal(signal.SIGINT, self._asked_to_stop)
        try:
            self._train()
            self._record("done")
            return 0
        except Stopped as stopped:
            self._record("stopped", str(stopped))
            return 0
        except BaseException as error:
            # It is ending already; what it has to say must be said.
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_IGN)
            traceback.print_exc()
            return self._failed(error)

    def _asked_to_stop(self, number: int, frame: Any) -> None:
        if not self._training:
            raise Stopped("A signal stopped the training before its first step.")
        self.stop.set()

    def _record(self, state: str, reason: str = "", final: bool = False) -> None:
        write_record(self.logs, self.local_rank, Record(state, self.chief, reason, final))

    def _failed(self, error: BaseException) -> int:
        """Say it to whom it concerns. A link that broke is no reason by itself: some rank has ended, and says why."""
        failure: dict[str, Any] = {"reason": reason_of(error), "final": not _is_broken_link(error)}
        if not failure["final"]:
            time.sleep(4 * POLL_SECONDS)
            self._record("failed", failure["reason"])
            return 1
        self._end(failure)
        if self.meeting:
            self.meeting.report(failure)
        return 1

    def _end(self, failure: dict[str, Any]) -> None:
        # This rank's own failure comes back to its watch: one line is enough, and nobody leaves before it is written.
        with self._telling:
            if self._told:
                return
            self._told = True
            self._record("failed", failure["reason"], final=True)
            if self.chief:
                progress.append(self.out / progress.FILE, "failed", reason=failure["reason"])

    def _heard(self, failure: dict[str, Any]) -> None:
        try:
            self._end(failure)
        finally:
            os._exit(1)

    def _train(self) -> None:
        alone = "RANK" not in os.environ
        config: TrainingConfig | None = None
        prepared: Prepared | None = None
        problem = ""
        if alone:
            self.chief = True
        else:
            self.meeting = Meeting(bool(os.environ.get(PREFERRED_VARIABLE)), 60.0)
            self.chief = self.meeting.rank == 0
        watch = self.meeting.watch(self._heard) if self.meeting else None
        try:
            config = TrainingConfig.from_json(self.settings.read_text())
            self.out = config.out
            if config.deterministic:
                _be_deterministic()
            device = device_of(config.device, self.local_rank)
            self._take_output()
            prepared = prepare(config)
            network = initial_network(config.architecture, config.init_weights, config.recipe.seed)
        except Stopped:
            raise
        except Exception as error:
            if alone:
                raise
            problem = reason_of(error)
        if self.meeting:
            self._compare(config, prepared, problem)
        assert config is not None
        assert prepared is not None
        world = self._world(config, device)
        network.to(device).to(memory_format=torch.channels_last)
        expected = forecast(world, network, config.recipe.train_size, -(-config.recipe.batch_size // world.size))
        board = Board(config.out / "tensorboard") if self.chief else None
        teller = Teller(config, prepared, world, expected, board)
        self._training = True
        chosen = train(config, prepared, network, world, teller, self.stop, expected)
        self._training = False
        self._finish(config, prepared, network, world, chosen)
        if board:
            board.close()
        if self.meeting:
            self.meeting.part()
        if watch:
            watch.stop()
        world.leave()

    def _finish(self, config: TrainingConfig, prepared: Prepared, network: Any, world: World, chosen: Fit) -> None:
        if world.chief:
            ranks = f"{world.size} ranks on {world.nodes} nodes" if world.size > 1 else "one process"
            manifest = write_artifact(config, prepared, network, chosen, ranks)
            score = chosen.score if chosen.score > 0 else None
            path = config.out / progress.FILE
            progress.append(
                path, "artifact", sha256=manifest.sha256, selected_epoch=chosen.epoch, validation_auroc=score
            )

    def _take_output(self) -> None:
        """The chief holds the folder's progress file; two trainings in one folder would mix their checkpoints."""
        if not self.chief:
            return
        self.out.mkdir(parents=True, exist_ok=True)
        self._lock = (self.out / progress.FILE).open("ab")
        until = time.monotonic() + _LOCK_SECONDS
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except OSError as error:
                if time.monotonic() > until:
                    raise OutputTaken(
                        f"Another training writes to {self.out}. Stop it, or give another --out."
                    ) from error
                time.sleep(POLL_SECONDS)

    def _compare(self, config: TrainingConfig | None, prepared: Prepared | None, problem: str) -> None:
        """Raise Disagreement, on every rank with the same words, unless all ranks would train the same."""
        assert self.meeting is not None
        mine = {
            "host": socket.gethostname(),
            "problem": problem,
            "code revision": revision()[:12],
            "torch version": torch.__version__,
            "settings": config.fingerprint() if config else "",
            "data set": prepared.identity[:12] if prepared else "",
        }
        everyone = self.meeting.exchange("who", mine)
        said = disagreement(everyone)
        if said:
            raise Disagreement(said)

    def _world(self, config: TrainingConfig, device: torch.device) -> World:
        if self.meeting is None:
            return World(device)
        if device.type == "cuda":
            torch.cuda.set_device(device)
        mine = [os.environ["GROUP_RANK"], platform.node(), _card(device)]
        places = self.meeting.exchange("place", mine)
        cards = [(host, card) for _, host, card in places]
        distinct = device.type == "cuda" and len(set(cards)) == len(cards) and all(card for _, card in cards)
        world = Group(
            device,
            self.meeting.store,
            self.meeting.rank,
            self.meeting.size,
            backend="nccl" if distinct else "gloo",
            timeout=config.collective_timeout,
        )
        world.nodes = len({group for group, _, _ in places})
        return world


class Teller:
    """The progress of a run, told by the chief: into the progress file, TensorBoard and the log."""

    def __init__(
        self, config: TrainingConfig, prepared: Prepared, world: World, expected: Forecast | None, board: Board | None
    ) -> None:
        self.config, self.prepared, self.world, self.expected, self.board = config, prepared, world, expected, board

    def __call__(self, event: str, **fields: Any) -> None:
        """One event of the loop."""
        if not self.world.chief:
            return
        if event == "ready":
            event, fields = "start", {**self._start(), **fields}
            LOG.info("%s", self.expected or "One process: nothing travels.")
        if event == "epoch":
            LOG.info("epoch %(epoch)d: loss %(loss).4f, validation mean AUROC %(validation_auroc).4f", fields)
            for rank in stragglers(fields["ranks"]):
                LOG.warning("Rank %d is slow: its own work takes 1.5 times the median of all ranks.", rank)
        line = progress.append(self.config.out / progress.FILE, event, **fields)
        if self.board:
            self.board.show(line)

    def _start(self) -> dict[str, Any]:
        execution = execution_of(self.config, self.world, self.expected)
        return {
            "world_size": self.world.size,
            "nodes": self.world.nodes,
            "backend": self.world.backend,
            "device": self.world.device.type,
            "architecture": self.config.architecture,
            "global_batch": self.config.recipe.batch_size,
            "train_films": len(self.prepared.split.train),
            "validation_films": len(self.prepared.split.validation),
            "restart": self._restarts(),
            "forecast": self.expected.to_dict() if self.expected else None,
            "compressed": execution.compress,
        }

    def _restarts(self) -> int:
        """How often this launch has begun before."""
        since = float(os.environ.get(SINCE_VARIABLE, "0"))
        events = progress.read(self.config.out / progress.FILE)
        return sum(each["event"] == "start" and each["time"] >= since for each in events)


def disagreement(everyone: list[dict[str, str]]) -> str:
    """Which rank differs from the chief in what, or has a problem; empty if all agree."""
    broken = [(rank, each) for rank, each in enumerate(everyone) if each["problem"]]
    if broken:
        rank, each = broken[0]
        return f"Rank {rank} on {each['host']}: {each['problem']}"
    chief = everyone[0]
    for rank, each in enumerate(everyone):
        for what in ("code revision", "torch version", "settings", "data set"):
            if each[what] != chief[what]:
                shown = "" if what == "settings" else f" ({each[what]} instead of {chief[what]})"
                return (
                    f"Rank {rank} on {each['host']} has another {what}{shown} than the chief on {chief['host']}. "
                    "Give all nodes the same release, the same options and the same films."
                )
    return ""


def reason_of(error: BaseException) -> str:
    """One line for people."""
    text = str(error).strip().splitlines()
    told = text[0] if text else type(error).__name__
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return "The GPU's memory is too small for a rank's share of the batch: give --micro-batch, such as 64."
    known = type(error).__module__.startswith("ml.") or isinstance(error, OSError | ValueError)
    return told if known else f"{type(error).__name__}: {told}"


def _is_broken_link(error: BaseException) -> bool:
    """Whether the error only says that another rank has gone."""
    if isinstance(error, dist.DistError | dist.DistNetworkError | dist.DistStoreError | ConnectionError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(word in text for word in _BROKEN_LINK)


def _be_deterministic() -> None:
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False


def _card(device: torch.device) -> str:
    return str(torch.cuda.get_device_properties(device).uuid) if device.type == "cuda" else ""

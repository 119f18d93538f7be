"""Start a training on one machine or many, watch it, and restart what dies. Imports no torch.

Three ways: `rdzv_endpoint` (this machine is one of several, and the same command runs on each), `hosts` (the others are
started over ssh), or neither (all nodes are processes of this machine).
"""

import fcntl
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

from ml.model.artifact import write_atomically
from ml.training import progress
from ml.training.addresses import DEFAULT_PORT, free_port, gpu_count, split_endpoint
from ml.training.config import TrainingConfig
from ml.training.members import STOP_SECONDS, Agent, Meeting, Member, Remote, TrainingFailed, meeting_at
from ml.training.nodes import Nodes

__all__ = ["Launched", "Nodes", "TrainingFailed", "launch"]

_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Launched:
    """How a training ended. The artifact is there for the chief's node only; the others register nothing."""

    artifact: Path | None
    is_chief_node: bool


class _SignalStop(BaseException):
    """A signal arrived."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def launch(
    config: TrainingConfig, nodes: Nodes, *, out: TextIO = sys.stderr, stop: threading.Event | None = None
) -> Launched:
    """Run the whole training; returns when it is over.

    Progress goes to `config.out / progress.jsonl`, agents' output to `config.out / logs`. SIGTERM, Ctrl-C (in the main
    thread) and `stop` end all agents after a checkpoint; a signal is then raised again (KeyboardInterrupt, SystemExit),
    `stop` raises TrainingFailed. Raises TrainingFailed(reason) and ValueError.
    """
    cache = config.cache.resolve() if config.cache else None
    config = replace(config, data=config.data.resolve(), out=config.out.resolve(), cache=cache)
    _write_settings(config)
    if not config.resume:
        _forget(config.out)
    agents, members = _plan(config, nodes, out)
    try:
        with _signals():
            for member in members:
                member.start()
            _watch(members, stop)
    except _SignalStop as signalled:
        _stop(members)
        if signalled.number == signal.SIGINT:
            raise KeyboardInterrupt from None
        raise SystemExit(128 + signalled.number) from None
    except BaseException:
        _stop(members)
        raise
    return _ended(config, nodes, agents)


def _ended(config: TrainingConfig, nodes: Nodes, agents: Sequence[Agent]) -> Launched:
    chief = any(record.chief for agent in agents for record in agent.records())
    artifact = config.out / "artifact"
    if nodes.hosts and not (artifact / "manifest.json").is_file():
        raise TrainingFailed(
            f"The training is over, but its artifact is not under {config.out} here. List this machine among the "
            "hosts, or put the output folder on storage that all of them share."
        )
    chief = chief or bool(nodes.hosts)
    return Launched(artifact if chief else None, chief)


def _write_settings(config: TrainingConfig) -> None:
    try:
        config.out.mkdir(parents=True, exist_ok=True)
        write_atomically(config.out / "run.json", config.to_json().encode())
    except OSError as error:
        raise TrainingFailed(
            f"{config.out} can't be written: {error.strerror}. Give another --out, or make it writable."
        ) from error


def _forget(out: Path) -> None:
    """Remove the checkpoints and the progress of a former run, unless a chief on shared storage is at work there."""
    path = out / progress.FILE
    with path.open("ab") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return
        stream.truncate(0)
        for old in (out / "checkpoints").glob("films-*.pt"):
            old.unlink(missing_ok=True)


def _plan(config: TrainingConfig, nodes: Nodes, out: TextIO) -> tuple[list[Agent], list[Member]]:
    logs = config.out / "logs"
    if nodes.hosts:
        return _over_ssh(config, nodes, logs, out)
    if nodes.rdzv_endpoint:
        # On shared storage each node needs a folder of its own.
        own = logs / f"{socket.gethostname()}-{os.getpid()}"
        meeting = meeting_at(*split_endpoint(nodes.rdzv_endpoint))
        agent = Agent(config, nodes, meeting, own, meeting.here, nodes.nproc_per_node)
        return [agent], [agent]
    count = nodes.maximum
    if count > 1:
        out.write(
            f"No --rdzv-endpoint and no TRAINING_HOSTS: this machine alone plays all {count} nodes, "
            f"{nodes.nproc_per_node} ranks each.\n"
        )
        out.flush()
    port = free_port()
    gpus = _shared_gpus(config, nodes)
    agents = [
        Agent(
            config,
            nodes,
            Meeting("127.0.0.1", port, here=number == 0),
            logs / f"node-{number}",
            number == 0,
            count * nodes.nproc_per_node,
            gpus[number],
        )
        for number in range(count)
    ]
    return agents, list(agents)


def _shared_gpus(config: TrainingConfig, nodes: Nodes) -> list[tuple[str, ...]]:
    """Which of this machine's GPUs each of its nodes may use; empty: as it finds them."""
    total = gpu_count() if config.device != "cpu" else 0
    each = nodes.nproc_per_node
    if nodes.maximum == 1 or total < nodes.maximum * each:
        return [()] * nodes.maximum
    visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(total)))
    names = [name.strip() for name in visible.split(",")]
    return [tuple(names[node * each : (node + 1) * each]) for node in range(nodes.maximum)]


def _over_ssh(config: TrainingConfig, nodes: Nodes, logs: Path, out: TextIO) -> tuple[list[Agent], list[Member]]:
    """Agents on all hosts; the first host keeps the meeting, this machine's the chief where it is one of them."""
    here = [host for host in nodes.hosts if host in _own_names()]
    if len(here) > 1:
        raise ValueError(f"TRAINING_HOSTS names this machine {len(here)} times: {', '.join(here)}.")
    first = socket.getfqdn() if nodes.hosts[0] in ("localhost", "127.0.0.1") else nodes.hosts[0].rpartition("@")[2]
    endpoint = f"{first}:{DEFAULT_PORT}"
    each = replace(nodes, hosts=(), rdzv_endpoint=endpoint)
    out.write(f"Starting {', '.join(nodes.hosts)} over ssh; they meet at {endpoint}.\n")
    out.flush()
    meeting = meeting_at(first, DEFAULT_PORT)
    agents = [Agent(config, each, meeting, logs / "here", True, nodes.nproc_per_node) for _ in here]
    others = [host for host in nodes.hosts if host not in here]
    remotes = [Remote(host, config, each, logs / f"ssh-{number}") for number, host in enumerate(others)]
    return agents, [*agents, *remotes]


def _own_names() -> set[str]:
    return {"localhost", "127.0.0.1", socket.gethostname(), socket.getfqdn()}


def _watch(members: Sequence[Member], stop: threading.Event | None) -> None:
    left = list(members)
    while left:
        left = [member for member in left if not member.over()]
        if stop is not None and stop.is_set():
            raise TrainingFailed("The training was stopped; the same command resumes it.")
        if left:
            time.sleep(_POLL_SECONDS)


def _stop(members: Sequence[Member]) -> None:
    for member in members:
        member.ask_to_stop()
    until = time.monotonic() + STOP_SECONDS
    for member in members:
        member.stop(until)


@contextmanager
def _signals() -> Iterator[None]:
    """Within it, SIGTERM and SIGINT end the watching. Only a main thread may set handlers; others use `stop`."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def raise_it(number: int, frame: Any) -> None:
        raise _SignalStop(number)

    before = {number: signal.signal(number, raise_it) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

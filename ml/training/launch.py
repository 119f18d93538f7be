"""Start a training on one machine or many, and wait for its end. Imports no torch.

Three ways: `rdzv_endpoint` (this machine is one of several, and the same command runs on each), `hosts` (the others are
started over ssh), or neither (all nodes are processes of this machine).
"""

import fcntl
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

from ml.model.artifact import write_atomically
from ml.training import progress
from ml.training.addresses import free_port, gpu_count, is_local, outward_address, own_address, resolved
from ml.training.config import TrainingConfig
from ml.training.elastic import Node
from ml.training.nodes import Nodes
from ml.training.processes import TrainingFailed
from ml.training.rendezvous import DEFAULT_PORT, is_local_endpoint
from ml.training.ssh import RemoteNode

__all__ = ["Launched", "Nodes", "TrainingFailed", "launch"]

_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Launched:
    """How a training ended. The artifact is there for the chief's node only; the others register nothing."""

    artifact: Path | None
    is_chief_node: bool


def launch(
    config: TrainingConfig, nodes: Nodes, *, out: TextIO = sys.stderr, stop: threading.Event | None = None
) -> Launched:
    """Run the whole training; returns when it is over.

    Progress goes to `config.out / progress.jsonl`, the agents' output to `config.out / logs`.

    Args:
        config: what to train.
        nodes: on which machines.
        out: where to report how the nodes are started.
        stop: like SIGTERM and Ctrl-C (in the main thread), ends all ranks after a checkpoint.

    Raises:
        TrainingFailed: it failed, or `stop` was set.
        ValueError: settings that can't work.
        KeyboardInterrupt, SystemExit: after a signal.
    """
    cache = config.cache.resolve() if config.cache else None
    config = replace(config, data=config.data.resolve(), out=config.out.resolve(), cache=cache)
    _write_settings(config)
    if not config.resume:
        _remove_former_run(config.out)
    local, remote = _plan(config, nodes, out)
    try:
        _run([*local, *remote], stop)
    except TrainingFailed as error:
        if _has_chief(local) and not (stop and stop.is_set()):
            progress.append(config.out / progress.FILE, "failed", reason=error.reason)
        raise
    is_chief_node = bool(nodes.hosts) or _has_chief(local)
    artifact = config.out / "artifact"
    if nodes.hosts and not (artifact / "manifest.json").is_file():
        raise TrainingFailed(
            f"The training is over, but its artifact is not under {config.out} here. List this machine among the "
            "hosts, or put the output folder on storage that all of them share."
        )
    return Launched(artifact if is_chief_node else None, is_chief_node)


def _has_chief(local: Sequence[Node]) -> bool:
    return any(outcome.is_chief for node in local for outcome in node.outcomes())


def _run(members: Sequence[Node | RemoteNode], stop: threading.Event | None) -> None:
    """Run all of them, each in a thread; the failure of one ends all."""
    ending = threading.Event()
    with _signals(), ThreadPoolExecutor(len(members)) as pool:
        try:
            left = {pool.submit(member.run, ending) for member in members}
            while left:
                over, left = wait(left, _POLL_SECONDS, FIRST_EXCEPTION)
                for future in over:
                    future.result()
                if stop is not None and stop.is_set():
                    raise TrainingFailed("The training was stopped; the same command resumes it.")
        finally:
            ending.set()


@contextmanager
def _signals() -> Iterator[None]:
    """Within it, SIGTERM ends the main thread's work like Ctrl-C. Other threads can't set handlers; they use `stop`."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def exit_by(number: int, frame: Any) -> None:
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, exit_by) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _write_settings(config: TrainingConfig) -> None:
    try:
        config.out.mkdir(parents=True, exist_ok=True)
        write_atomically(config.out / "run.json", config.to_json().encode())
    except OSError as error:
        raise TrainingFailed(
            f"{config.out} can't be written: {error.strerror}. Give another --out, or make it writable."
        ) from error


def _remove_former_run(out: Path) -> None:
    """Remove the checkpoints and the progress of a former run, unless a chief on shared storage is at work there."""
    with (out / progress.FILE).open("ab") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return
        stream.truncate(0)
        for old in (out / "checkpoints").glob("films-*.pt"):
            old.unlink(missing_ok=True)


def _plan(config: TrainingConfig, nodes: Nodes, out: TextIO) -> tuple[list[Node], list[RemoteNode]]:
    """The nodes to run here, and those to start over ssh."""
    logs = config.out / "logs"
    if nodes.hosts:
        return _over_ssh(config, nodes, logs, out)
    if nodes.rdzv_endpoint:
        # On shared storage each node needs a folder of its own.
        own = logs / f"{socket.gethostname()}-{os.getpid()}"
        here = is_local_endpoint(nodes.rdzv_endpoint)
        return [Node(config, nodes, nodes.rdzv_endpoint, own, here, nodes.nproc_per_node)], []
    count = nodes.maximum
    if count > 1:
        out.write(
            f"No --rdzv-endpoint and no TRAINING_HOSTS: this machine alone runs all {count} nodes, "
            f"{nodes.nproc_per_node} ranks each.\n"
        )
        out.flush()
    endpoint = f"127.0.0.1:{free_port()}"
    gpus = _shared_gpus(config, nodes)
    return [
        Node(
            config, nodes, endpoint, logs / f"node-{number}", number == 0, count * nodes.nproc_per_node, gpus[number]
        )
        for number in range(count)
    ], []  # fmt: skip


def _shared_gpus(config: TrainingConfig, nodes: Nodes) -> list[tuple[str, ...]]:
    """Which of this machine's GPUs each of its nodes may use; empty: as it finds them."""
    total = gpu_count() if config.device != "cpu" else 0
    each = nodes.nproc_per_node
    if nodes.maximum == 1 or total < nodes.maximum * each:
        return [()] * nodes.maximum
    visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(total)))
    names = [name.strip() for name in visible.split(",")]
    return [tuple(names[node * each : (node + 1) * each]) for node in range(nodes.maximum)]


def _over_ssh(config: TrainingConfig, nodes: Nodes, logs: Path, out: TextIO) -> tuple[list[Node], list[RemoteNode]]:
    """A node on each host. This machine, where it is one of them, hosts the rendezvous and has the chief."""
    addresses = {host: resolved(host.rpartition("@")[2]) for host in nodes.hosts}
    here = [host for host, address in addresses.items() if _is_this_machine(host, address)]
    others = [host for host in nodes.hosts if host not in here]
    if len(here) > 1:
        raise ValueError(f"TRAINING_HOSTS names this machine {len(here)} times: {', '.join(here)}.")
    if here:
        peers = [address for host in others if (address := addresses[host])]
        address = (own_address(peers[0]) if peers else None) or outward_address()
    else:
        address = addresses[nodes.hosts[0]]
    if address is None:
        raise ValueError(
            f"TRAINING_HOSTS: no address of {', '.join(here) or nodes.hosts[0]} is known that the other machines "
            "reach. Give addresses, or names that the resolver knows."
        )
    endpoint = f"[{address}]:{DEFAULT_PORT}" if ":" in address else f"{address}:{DEFAULT_PORT}"
    each = replace(nodes, hosts=(), rdzv_endpoint=endpoint)
    out.write(f"Starting {', '.join(nodes.hosts)} over ssh; they meet at {endpoint}.\n")
    out.flush()
    local = [Node(config, each, endpoint, logs / "here", True, nodes.nproc_per_node) for _ in here]
    return local, [RemoteNode(host, config, each, logs / f"ssh-{number}") for number, host in enumerate(others)]


def _is_this_machine(host: str, address: str | None) -> bool:
    return host in ("localhost", socket.gethostname(), socket.getfqdn()) or (address is not None and is_local(address))

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
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from ml.model.artifact import write_atomically
from ml.training import progress
from ml.training.addresses import free_port, is_local, outward_address, own_address, resolved
from ml.training.config import TrainingConfig
from ml.training.node import Node
from ml.training.nodes import Nodes
from ml.training.processes import TrainingFailed
from ml.training.rendezvous import DEFAULT_PORT
from ml.training.ssh import RemoteNode

__all__ = ["Nodes", "TrainingFailed", "launch"]


def launch(config: TrainingConfig, nodes: Nodes, *, out: TextIO = sys.stderr) -> Path | None:
    """Run the whole training; returns when it is over. To be called in the main thread.

    Progress goes to `config.out / progress.jsonl`, the agents' output to `config.out / logs`. SIGTERM and Ctrl-C end
    all ranks after a checkpoint.

    Args:
        config: what to train.
        nodes: on which machines.
        out: where to report how the nodes are started.

    Returns:
        The artifact where the chief is (the node that registers it); None on the other machines.

    Raises:
        TrainingFailed: it failed.
        ValueError: settings that can't work.
        KeyboardInterrupt, SystemExit: after a signal.
    """
    cache = config.cache.resolve() if config.cache else None
    config = replace(config, data=config.data.resolve(), out=config.out.resolve(), cache=cache)
    _prepare_output(config)
    local, remote = _plan(config, nodes, out)
    try:
        _run([*local, *remote])
    except TrainingFailed as error:
        if any(node.has_chief for node in local):
            progress.append(config.out / progress.FILE, "failed", reason=str(error))
        raise
    artifact = config.out / "artifact"
    if nodes.hosts and not (artifact / "manifest.json").is_file():
        raise TrainingFailed(
            f"The training is over, but its artifact is not under {config.out} here. List this machine among the "
            "hosts, or put the output folder on storage that all of them share."
        )
    return artifact if nodes.hosts or any(node.has_chief for node in local) else None


def _prepare_output(config: TrainingConfig) -> None:
    """Write the settings; a run that does not resume removes the checkpoints and the progress of a former one."""
    try:
        config.out.mkdir(parents=True, exist_ok=True)
        write_atomically(config.out / "run.json", config.to_json().encode())
    except OSError as error:
        raise TrainingFailed(
            f"{config.out} can't be written: {error.strerror}. Give another --out, or make it writable."
        ) from error
    if config.resume or not (config.out / progress.FILE).exists():
        return
    with (config.out / progress.FILE).open("ab") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            # The chief, on another machine with which this one shares the folder, is at work already.
            return
        stream.truncate(0)
        for old in (config.out / "checkpoints").glob("films-*.pt"):
            old.unlink(missing_ok=True)


def _run(members: Sequence[Node | RemoteNode]) -> None:
    """Run all of them, each in a thread; the failure of one, or a signal, stops all."""
    stop = threading.Event()
    with _exit_by_sigterm(), ThreadPoolExecutor(len(members)) as pool:
        try:
            for member in as_completed([pool.submit(member.run, stop) for member in members]):
                member.result()
        finally:
            stop.set()


@contextmanager
def _exit_by_sigterm() -> Iterator[None]:
    """Within it, SIGTERM ends the main thread's work as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _plan(config: TrainingConfig, nodes: Nodes, out: TextIO) -> tuple[list[Node], list[RemoteNode]]:
    """The nodes to run here, and those to start over ssh."""
    logs, count = config.out / "logs", nodes.maximum
    if nodes.hosts:
        return _over_ssh(config, nodes, logs, out)
    if nodes.rdzv_endpoint:
        # On shared storage each node needs a folder of its own.
        return [Node(config, nodes, logs / f"{socket.gethostname()}-{os.getpid()}")], []
    if count > 1:
        out.write(
            f"No --rdzv-endpoint and no TRAINING_HOSTS: this machine alone runs all {count} nodes, "
            f"{nodes.nproc_per_node} ranks each.\n"
        )
        out.flush()
    nodes = replace(nodes, rdzv_endpoint=f"127.0.0.1:{free_port()}")
    return [Node(config, nodes, logs / f"node-{number}", number, count) for number in range(count)], []


def _over_ssh(config: TrainingConfig, nodes: Nodes, logs: Path, out: TextIO) -> tuple[list[Node], list[RemoteNode]]:
    """A node on each host. This machine, where it is one of them, hosts the rendezvous and has the chief."""
    addresses = {host: resolved(host.rpartition("@")[2]) for host in nodes.hosts}
    names = ("localhost", socket.gethostname(), socket.getfqdn())
    here = [host for host, address in addresses.items() if host in names or (address and is_local(address))]
    others = [host for host in nodes.hosts if host not in here]
    if len(here) > 1:
        raise ValueError(f"TRAINING_HOSTS names this machine {len(here)} times: {', '.join(here)}.")
    address = addresses[nodes.hosts[0]]
    if here:
        peer = next(filter(None, map(addresses.get, others)), None)
        address = (own_address(peer) if peer else None) or outward_address()
    if address is None:
        raise ValueError(
            f"TRAINING_HOSTS: no address of {', '.join(here) or nodes.hosts[0]} is known that the other machines "
            "reach. Give addresses, or names that the resolver knows."
        )
    endpoint = f"[{address}]:{DEFAULT_PORT}" if ":" in address else f"{address}:{DEFAULT_PORT}"
    each = replace(nodes, hosts=(), rdzv_endpoint=endpoint)
    out.write(f"Starting {', '.join(nodes.hosts)} over ssh; they meet at {endpoint}.\n")
    out.flush()
    remote = [RemoteNode(host, config, each, logs / f"ssh-{number}") for number, host in enumerate(others)]
    return [Node(config, each, logs / "here") for _ in here], remote

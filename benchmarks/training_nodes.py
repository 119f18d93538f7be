"""Measure the overhead of three ranks: bytes sent and extra time, relative to one process with the same work.

    python -m benchmarks.training_nodes [--arch densenet121] [--size 96] [--batch 6] [--steps 5] [--rounds 4]

Three gloo ranks with one thread each, on a separate loopback interface, alternate with one process that computes the
three micro-batches one after the other on all cores. The kernel counts the bytes, including TCP and IP headers.
Limits: 2 (n - 1) / n x gradient bytes for each rank, +- 5 %; extra time beside communication <= 10 %.
"""

import argparse
import multiprocessing
import os
import queue
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.distributed import FileStore

from ml.labels import LABELS
from ml.model.networks import build
from ml.model.transforms import InputSpace
from ml.training.config import Recipe
from ml.training.fitting import Execution, TrainingData
from ml.training.forecast import ring_bytes
from ml.training.loop import Loop
from ml.training.world import Group, World

RANKS = 3


def in_own_network() -> None:
    """Start again in a new network namespace, where only the bytes of this benchmark are counted."""
    if os.environ.get("OWN_NETWORK"):
        return
    enter = ["unshare", "-rn", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    if shutil.which("unshare") is None or subprocess.run([*enter, "true"], capture_output=True).returncode:
        print("No network namespace here: bytes of other programs on loopback are counted too.")
        return
    command = [*enter, sys.executable, "-m", "benchmarks.training_nodes", *sys.argv[1:]]
    raise SystemExit(subprocess.run(command, env={**os.environ, "OWN_NETWORK": "1"}).returncode)


def loopback_bytes() -> int:
    """Bytes sent over the loopback interface since the machine started."""
    for line in Path("/proc/net/dev").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name.strip() == "lo":
            return int(rest.split()[8])
    raise SystemExit("This system has no /proc/net/dev: the bytes can't be counted.")


def loop_of(given: argparse.Namespace, world: World, films: int, micro_batch: int) -> Loop:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    squares = rng.integers(0, 256, (films * given.steps, given.size, given.size), dtype=np.uint8)
    truth = (rng.random((len(squares), len(LABELS))) < 0.1).astype(np.float32)
    recipe = Recipe(epochs=1000, batch_size=films, train_size=given.size)
    network = build(given.arch, len(LABELS)).to(memory_format=torch.channels_last)
    every = np.arange(len(squares))
    return Loop(
        network, TrainingData(squares, truth, every, every[:0]), InputSpace(given.size), recipe, world,
        Execution(micro_batch=micro_batch),
    )  # fmt: skip


def epoch(loop: Loop) -> float:
    """Seconds per step."""
    start = time.perf_counter()
    loop.run_epoch(lambda *_, **__: None, threading.Event(), lambda: None)
    loop.epoch, loop.step = loop.epoch + 1, 0
    return (time.perf_counter() - start) / loop.per_epoch


def rank(number: int, store: str, given: argparse.Namespace, orders: Any, answers: Any) -> None:
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    world = Group(torch.device("cpu"), FileStore(store, RANKS), number, RANKS, backend="gloo", timeout=120)
    loop = loop_of(given, world, RANKS * given.batch, 0)
    gradient = sum(p.numel() * p.element_size() for p in loop.network.parameters())
    flat = torch.zeros(gradient // 4)
    while (order := orders.get()) != "end":
        if order == "step":
            answers.put(epoch(loop))
        else:
            start = time.perf_counter()
            for _ in range(given.steps):
                world.add(flat)
            answers.put((time.perf_counter() - start) / given.steps)
    answers.put(gradient)
    world.leave()


def alone(given: argparse.Namespace, orders: Any, answers: Any) -> None:
    """The same three micro-batches in one process, with as many threads as there are cores."""
    torch.set_num_threads(min(RANKS, len(os.sched_getaffinity(0))))
    loop = loop_of(given, World(torch.device("cpu")), RANKS * given.batch, given.batch)
    while orders.get() != "end":
        answers.put(epoch(loop))
    answers.put(0)


def measure(given: argparse.Namespace) -> tuple[list[tuple[float, float, float, int]], int]:
    """Rounds of (step of three ranks, only their communication, step of one process, bytes), and gradient bytes."""
    context = multiprocessing.get_context("spawn")
    store = str(Path(tempfile.mkdtemp()) / "store")
    inboxes = [context.Queue() for _ in range(RANKS + 1)]
    answers: list[Any] = [context.Queue() for _ in range(RANKS + 1)]
    members = [context.Process(target=rank, args=(n, store, given, inboxes[n], answers[n])) for n in range(RANKS)]
    members.append(context.Process(target=alone, args=(given, inboxes[RANKS], answers[RANKS])))
    for member in members:
        member.start()

    def all_ranks(order: str) -> float:
        for inbox in inboxes[:RANKS]:
            inbox.put(order)
        return max(answer.get(timeout=600) for answer in answers[:RANKS])

    def single() -> float:
        inboxes[RANKS].put("step")
        return float(answers[RANKS].get(timeout=600))

    try:
        all_ranks("step"), single()
        rounds = []
        for _ in range(given.rounds):
            before = loopback_bytes()
            together = all_ranks("step")
            sent = (loopback_bytes() - before) // given.steps
            rounds.append((together, all_ranks("communicate"), single(), sent))
        for inbox in inboxes:
            inbox.put("end")
        gradient = int(answers[0].get(timeout=60))
    except queue.Empty:
        raise SystemExit("A rank did not answer within ten minutes.") from None
    finally:
        for member in members:
            member.join(20)
            member.kill()
    return rounds, gradient


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arch", default="densenet121")
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--batch", type=int, default=6, help="films of a rank in a step")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=4)
    given = parser.parse_args()
    in_own_network()
    rounds, gradient = measure(given)
    together, communication, one = (min(column) for column in list(zip(*rounds, strict=True))[:3])
    sent = statistics.median(each[3] for each in rounds)
    wanted = RANKS * ring_bytes(RANKS, gradient)
    cores = len(os.sched_getaffinity(0))
    print(f"{given.arch}, {gradient / 1e6:.1f} MB of gradients, {RANKS} gloo ranks on loopback, {cores} cores")
    print(
        f"bytes sent in a step {sent / 1e6:.2f} MB, 2(n-1)/n x gradients x n {wanted / 1e6:.2f} MB: {sent / wanted:.3f}"
    )
    print(f"three ranks {1e3 * together:.0f} ms, all-reduce {1e3 * communication:.0f}, one process {1e3 * one:.0f}")
    print(f"beyond communication: {(together - communication) / one - 1:+.1%} of the one process's step (limit +10 %)")


if __name__ == "__main__":
    main()

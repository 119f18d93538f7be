"""Check and measure everything that needs a GPU, in ten minutes at most.

    python -m benchmarks.gpu [--part ranks --part predictor --part training --part drain]
    python -m benchmarks.gpu --device cpu

Parts: one rank that trains through NCCL, with and without bfloat16 gradients, against the same without ranks
(`ranks`); the predictor in bfloat16 with CUDA graphs and the compiled largest batch, against eager torch and float32
(`predictor`); the training loop uncompiled and compiled (`training`); a queue that is worked off from end to end
(`drain`). Each part is a process of its own with a time limit, so that one that fails or hangs leaves the others their
figures. Ends with the figures beside their targets on an H200, and the card's name.

With `--device cpu` the same code runs on a CPU, with gloo, in float32, uncompiled, and in small: that shows that the
script works, and its figures say nothing about a GPU. The exit status is 0 if all parts ended well, whatever the
figures.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist

from benchmarks.stack import PROJECT_ROOT
from ml.labels import LABELS
from ml.model.networks import build
from ml.model.transforms import InputSpace
from ml.training.addresses import free_port
from ml.training.config import Recipe
from ml.training.fit import fit
from ml.training.fitting import Execution, TrainingData
from ml.training.world import Group, World


@dataclass(frozen=True)
class Part:
    """Commands for a GPU and for a CPU, a time limit, and the figure that is read from their output."""

    gpu: tuple[str, ...]
    cpu: tuple[str, ...]
    seconds: int
    pattern: str = ""
    unit: str = ""
    target: float = 0.0


_OWN = ("benchmarks.gpu", "--run-ranks")
PARTS = {
    "ranks": Part((*_OWN, "--device", "cuda"), (*_OWN, "--device", "cpu"), 60),
    "predictor": Part(
        ("benchmarks.predictor", "--device", "cuda", "--arch", "densenet121", "--batch", "1", "--batch", "8",
         "--batch", "64", "--rounds", "3"),
        ("benchmarks.predictor", "--arch", "test_resnet", "--batch", "8", "--rounds", "1"),
        140, r"Predictor ([\d.]+) films/s", "images/s inference", 12_000,
    ),
    "training": Part(
        ("benchmarks.training_gpu", "--films", "2048"),
        ("benchmarks.training_gpu", "--device", "cpu", "--arch", "test_resnet", "--batch", "16", "--size", "64",
         "--films", "64"),
        210, r"([\d.]+) images/s \(", "images/s training", 3_500,
    ),
    "drain": Part(
        ("benchmarks.pipeline", "--device", "cuda", "--densenet", "--films", "1000", "--rounds", "1"),
        ("benchmarks.pipeline", "--films", "16", "--rounds", "1"),
        150, r"drain of a full queue\s+([\d.]+) of raw", "of the raw predictor, end to end", 0.85,
    ),
}  # fmt: skip


def run_part(name: str, device: str) -> tuple[bool, float | None]:
    """Whether a part ended well, and its best figure. What it writes goes to the terminal as it comes."""
    part = PARTS[name]
    command = [sys.executable, "-u", "-m", *(part.gpu if device == "cuda" else part.cpu)]
    print(f"\n== {name}: {' '.join(command[2:])} (at most {part.seconds} s)", flush=True)
    start, figures = time.monotonic(), []
    process = subprocess.Popen(command, cwd=PROJECT_ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True)
    over = False
    assert process.stdout is not None

    def stop() -> None:
        nonlocal over
        over = True
        # So that a part ends the processes that it started; those that do not end are killed with it.
        process.send_signal(signal.SIGINT)
        kill.start()

    kill = threading.Timer(10, os.killpg, (process.pid, signal.SIGKILL))
    limit = threading.Timer(part.seconds, stop)
    limit.start()
    for line in process.stdout:
        print(f"   {line}", end="", flush=True)
        figures += [float(value) for value in re.findall(part.pattern, line)] if part.pattern else []
    rc = process.wait()
    limit.cancel()
    kill.cancel()
    ended = "not ended within its time" if over else f"exit status {rc}"
    print(f"   {time.monotonic() - start:.0f} s, {ended}", flush=True)
    return rc == 0 and not over, max(figures, default=None)


def run_ranks(device: torch.device) -> None:
    """Train a little with one rank in a process group, and with no group: both must learn the same."""
    cuda = device.type == "cuda"
    architecture, side, count = ("densenet121", 224, 64) if cuda else ("test_resnet", 64, 16)
    rng = np.random.default_rng(0)
    squares = rng.integers(0, 256, (count * 2, side, side), dtype=np.uint8)
    truth = (rng.random((count * 2, len(LABELS))) < 0.2).astype(np.float32)
    data = TrainingData(squares, truth, np.arange(count * 2), np.arange(0))
    recipe = Recipe(epochs=2, batch_size=count, train_size=side, lr=1e-3)
    backend = "nccl" if cuda else "gloo"
    store = dist.TCPStore("127.0.0.1", free_port(), 1, True)
    group = Group(device, store, 0, 1, backend=backend, timeout=60)
    losses = {}
    for name, world, compress in (
        ("no process group", World(device), False),
        (f"{backend}, one rank", group, False),
        (f"{backend}, bfloat16 gradients", group, True),
    ):
        torch.manual_seed(0)
        network = build(architecture, len(LABELS)).to(device).to(memory_format=torch.channels_last)
        start = time.monotonic()
        execution = Execution(compress=compress)
        history = fit(network, data, InputSpace(side), recipe, world=world, execution=execution).history
        losses[name] = [line["loss"] for line in history]
        values = ", ".join(f"{loss:.5f}" for loss in losses[name])
        print(f"{name:<28} losses {values} in {time.monotonic() - start:.1f} s")
    group.leave()
    first, *others = losses.values()
    if not all(np.allclose(first, other, rtol=2e-2) for other in others):
        raise SystemExit("A process group changes what is learnt.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--part", choices=tuple(PARTS), action="append", help="again for each; by default all")
    parser.add_argument("--run-ranks", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("torch finds no CUDA device: run this on a machine with one, or give --device cpu.")
    if given.run_ranks:
        run_ranks(torch.device(given.device))
        return
    card = torch.cuda.get_device_name() if given.device == "cuda" else "CPU: this says nothing about a GPU"
    print(f"{card}, torch {torch.__version__}")
    read = {name: run_part(name, given.device) for name in given.part or PARTS}
    print(f"\n{card}")
    for name, (ended, figure) in read.items():
        part, state = PARTS[name], "ended well" if ended else "FAILED"
        if not part.pattern:
            print(f"{name:<10} {state}")
            continue
        value = "no figure" if figure is None else f"{figure:,.2f} {part.unit}"
        reached = "" if given.device == "cpu" else ", reached" if (figure or 0) >= part.target else ", not reached"
        print(f"{name:<10} {state}: {value} (target {part.target:,.2f} on an H200{reached})")
    sys.exit(0 if all(ended for ended, _ in read.values()) else 1)


if __name__ == "__main__":
    main()

"""Measure training on one GPU: compiled bfloat16 and uncompiled, with images on the GPU or prefetched.

    python -m benchmarks.training_gpu [--arch densenet121] [--batch 256] [--size 224] [--films 4096] [--device cpu]

Runs the training loop of the product (augmentation, AdamW, clipping, weight average) on random images. Prints images/s,
the share of time spent waiting for images (limit 0.03), and the time of the first step, which compiles. On a CPU, which
is for trying the script, nothing is compiled.
"""

import argparse
import threading
import time
from dataclasses import replace

import numpy as np
import torch

from ml.labels import LABELS
from ml.model.networks import build
from ml.model.transforms import InputSpace
from ml.training.config import Recipe
from ml.training.feed import Prefetched
from ml.training.fitting import Execution, TrainingData
from ml.training.loop import Loop
from ml.training.world import World


def measure(given: argparse.Namespace, films: TrainingData, *, compiled: bool, ahead: bool) -> str:
    """One line of figures, without the first epoch, which compiles."""
    torch.manual_seed(0)
    recipe = replace(Recipe(), batch_size=given.batch, epochs=2, train_size=given.size)
    world = World(torch.device(given.device))
    network = build(given.arch, len(LABELS)).to(world.device).to(memory_format=torch.channels_last)
    loop = Loop(network, films, InputSpace(size=given.size), recipe, world, Execution(compile=compiled))
    if ahead:
        loop.feed = Prefetched(films.squares, world.device)
    start = time.perf_counter()
    loop.run_epoch(lambda *_, **__: None, threading.Event(), lambda: None)
    synchronise(world.device)
    first = time.perf_counter() - start
    rates, waits = [], []
    for _ in range(3):
        loop.step = 0
        start = time.perf_counter()
        pace = loop.run_epoch(lambda *_, **__: None, threading.Event(), lambda: None)
        synchronise(world.device)
        rates.append(loop.per_epoch * given.batch / (time.perf_counter() - start))
        waits.append(pace.whole()["data_wait"])
    memory = torch.cuda.max_memory_allocated() / 2**30 if given.device == "cuda" else 0
    return (
        f"{max(rates):8.0f} images/s (three epochs: {', '.join(f'{rate:.0f}' for rate in rates)}), "
        f"data wait {min(waits):.3f}, first epoch {first:.0f} s, {memory:.0f} GiB"
    )


def synchronise(device: torch.device) -> None:
    """Wait for the work that was given to a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="densenet121")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--films", type=int, default=4096)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    given = parser.parse_args()
    on_gpu = given.device == "cuda"
    if on_gpu and not torch.cuda.is_available():
        raise SystemExit("torch finds no CUDA device: run this on a machine with one.")
    random = np.random.default_rng(0)
    squares = random.integers(0, 256, (given.films, 256, 256), dtype=np.uint8)
    truth = (random.random((given.films, len(LABELS))) < 0.1).astype(np.float32)
    films = TrainingData(squares, truth, np.arange(given.films), np.arange(0))
    device = torch.cuda.get_device_name() if on_gpu else "CPU"
    print(f"{given.arch}, batches of {given.batch}, {given.size} px, {device}")
    ways = (("uncompiled", False, False), ("compiled", True, False), ("compiled, films read ahead", True, True))
    for name, compiled, ahead in ways if on_gpu else ways[:1]:
        print(f"{name:<28}{measure(given, films, compiled=compiled, ahead=ahead)}", flush=True)
        torch._dynamo.reset()
        if not on_gpu:
            continue
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


if __name__ == "__main__":
    main()

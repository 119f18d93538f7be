"""Measure training on one GPU: compiled bfloat16 and uncompiled, with images on the GPU or prefetched.

    python -m benchmarks.training_gpu [--arch densenet121] [--batch 256] [--size 224] [--films 4096]

Runs the training loop of the product (augmentation, AdamW, clipping, weight average) on random images. Prints images/s,
the share of time spent waiting for images (limit 0.03), and the time of the first step, which compiles.
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
    world = World(torch.device("cuda"))
    network = build(given.arch, len(LABELS)).to(world.device).to(memory_format=torch.channels_last)
    loop = Loop(network, films, InputSpace(size=given.size), recipe, world, Execution(compile=compiled))
    if ahead:
        loop.feed = Prefetched(films.squares, world.device)
    start = time.perf_counter()
    loop.run_epoch(lambda *_, **__: None, threading.Event(), lambda: None)
    torch.cuda.synchronize()
    first = time.perf_counter() - start
    rates, waits = [], []
    for _ in range(3):
        loop.step = 0
        start = time.perf_counter()
        pace = loop.run_epoch(lambda *_, **__: None, threading.Event(), lambda: None)
        torch.cuda.synchronize()
        rates.append(loop.per_epoch * given.batch / (time.perf_counter() - start))
        waits.append(pace.whole()["data_wait"])
    memory = torch.cuda.max_memory_allocated() / 2**30
    return (
        f"{max(rates):8.0f} images/s (three epochs: {', '.join(f'{rate:.0f}' for rate in rates)}), "
        f"data wait {min(waits):.3f}, first epoch {first:.0f} s, {memory:.0f} GiB"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="densenet121")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--films", type=int, default=4096)
    given = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("torch finds no CUDA device: run this on a machine with one.")
    random = np.random.default_rng(0)
    squares = random.integers(0, 256, (given.films, 256, 256), dtype=np.uint8)
    truth = (random.random((given.films, len(LABELS))) < 0.1).astype(np.float32)
    films = TrainingData(squares, truth, np.arange(given.films), np.arange(0))
    print(f"{given.arch}, batches of {given.batch}, {given.size} px, {torch.cuda.get_device_name()}")
    for name, compiled, ahead in (
        ("uncompiled", False, False),
        ("compiled", True, False),
        ("compiled, films read ahead", True, True),
    ):
        print(f"{name:<28}{measure(given, films, compiled=compiled, ahead=ahead)}", flush=True)
        torch._dynamo.reset()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


if __name__ == "__main__":
    main()

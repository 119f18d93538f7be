"""Measure the time for class activation maps: the forward pass with them and without.

    python -m benchmarks.cam_overhead [--arch densenet121] [--batch 4] [--rounds 8]

Prints milliseconds per image of both and the ratio (goal: at most 1.02). Rounds alternate, so other load on the machine
affects both equally.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from ml.labels import LABELS
from ml.model.networks import build


def seconds(work: Callable[[], object], cuda: bool) -> float:
    start = time.perf_counter()
    work()
    if cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arch", default="densenet121")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=8)
    given = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = build(given.arch, len(LABELS)).eval().to(device).to(memory_format=torch.channels_last)
    images = torch.rand(given.batch, 3, given.size, given.size, device=device)
    images = images.contiguous(memory_format=torch.channels_last)

    def without() -> torch.Tensor:
        logits: torch.Tensor = network.classifier(network.features(images).mean(dim=(2, 3)))
        return logits

    with torch.inference_mode():
        for work in (without, lambda: network(images)):
            work()
        pairs = [
            (seconds(without, device.type == "cuda"), seconds(lambda: network(images), device.type == "cuda"))
            for _ in range(given.rounds)
        ]
        maps = network.features(images)
        head = [seconds(lambda: network.head(maps), device.type == "cuda") for _ in range(given.rounds * 4)]
        plain = [
            seconds(lambda: network.classifier(maps.mean(dim=(2, 3))), device.type == "cuda")
            for _ in range(given.rounds * 4)
        ]
    bare, full = (min(times) for times in zip(*pairs, strict=True))
    extra = statistics.median(head) - statistics.median(plain)
    print(f"{given.arch} on {device}, batch {given.batch}, {given.size} px, best of {given.rounds} alternating rounds")
    print(f"without maps {1e3 * bare / given.batch:.2f} ms/film, with maps {1e3 * full / given.batch:.2f} ms/film")
    print(f"ratio {full / bare:.4f}; by the head alone {1 + extra / bare:.4f}")


if __name__ == "__main__":
    main()

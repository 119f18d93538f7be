"""The Predictor (ONNX Runtime on a CPU) against eager torch with the same weights.

    python -m benchmarks.predictor [ARTIFACT | --arch densenet121] [--batch 8] [--rounds 5] [--threads N]

Prints films/s of both and the ratio; rounds alternate, so load hits both alike. Without an artifact the network has
random weights, which cost the same.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.untrained import write_untrained
from ml.artifact import load_artifact, read_manifest
from ml.onnx_export import serving_graph
from ml.predictor import load_predictor

STARTER = Path(__file__).parents[1] / "models" / "starter"


def rates(folder: Path, cache: Path, batch: int, rounds: int, threads: int) -> tuple[float, float]:
    torch.set_num_threads(threads)
    predictor = load_predictor(folder, "cpu", cache, threads)
    graph = serving_graph(load_artifact(folder))
    size = predictor.manifest.input_space.size
    films = np.random.default_rng(0).integers(0, 256, (batch, size, size), dtype=np.uint8)
    best = [0.0, 0.0]
    with torch.inference_mode():
        for number in range(rounds + 1):
            for index, work in enumerate((lambda: predictor.predict(films), lambda: graph(torch.from_numpy(films)))):
                start = time.perf_counter()
                work()
                if number:
                    best[index] = max(best[index], batch / (time.perf_counter() - start))
    return best[0], best[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("artifact", type=Path, nargs="?", default=STARTER)
    parser.add_argument("--arch", help="random weights of this architecture instead of an artifact")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = write_untrained(given.arch, Path(temporary) / "untrained") if given.arch else given.artifact
        ours, eager = rates(folder, Path(temporary) / "cache", given.batch, given.rounds, given.threads)
        name = read_manifest(folder).architecture
    print(f"{name}, batch {given.batch}, {given.threads} threads, best of {given.rounds} alternating rounds")
    print(f"Predictor {ours:.1f} films/s, eager torch {eager:.1f} films/s, ratio {ours / eager:.2f}")


if __name__ == "__main__":
    main()

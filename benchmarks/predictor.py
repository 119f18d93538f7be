"""Compare the predictor (ONNX Runtime on a CPU, CUDA graphs on a GPU) with eager torch and the same weights.

    python -m benchmarks.predictor [ARTIFACT | --arch densenet121] [--batch 8] [--rounds 5] [--threads N]
    python -m benchmarks.predictor --device cuda [ARTIFACT | --arch densenet121] [--batch 1 --batch 64 ...]

Prints images/s of both and the ratio. Rounds alternate, so other load on the machine affects both equally. Without an
artifact the network has random weights, which take the same time. On a GPU, eager torch uses bfloat16 and channels-last
too, and the error of the logits in bfloat16 is printed.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.raw import squares
from benchmarks.untrained import write_untrained
from ml.model import golden_image
from ml.model.artifact import load_artifact
from ml.model.onnx_export import serving_graph
from ml.model.predictor import load_predictor

STARTER = Path(__file__).parents[1] / "models" / "starter"


def alternating(works: list[Callable[[], object]], rounds: int, seconds: float = 0.2) -> list[float]:
    """Calls per second of each function, the best of several alternating rounds."""
    best = [0.0] * len(works)
    for number in range(rounds + 1):
        for index, work in enumerate(works):
            start, done = time.perf_counter(), 0
            while not done or time.perf_counter() - start < seconds:
                work()
                done += 1
            if number:
                best[index] = max(best[index], done / (time.perf_counter() - start))
    return best


def eager(folder: Path, device: str) -> Callable[[np.ndarray], np.ndarray]:
    """A function from images uint8 (N, S, S) to logits by eager torch; in bfloat16 on a GPU."""
    graph = serving_graph(load_artifact(folder)).to(device).to(memory_format=torch.channels_last)

    def run(films: np.ndarray) -> np.ndarray:
        with torch.inference_mode(), torch.autocast(device, dtype=torch.bfloat16, enabled=device == "cuda"):
            outputs = [value.float().cpu().numpy() for value in graph(torch.from_numpy(films).to(device))]
        return outputs[0]

    return run


def report(folder: Path, cache: Path, given: argparse.Namespace) -> None:
    torch.set_num_threads(given.threads)
    start = time.perf_counter()
    predictor = load_predictor(folder, given.device, cache, given.threads)
    predictor.warm_up()
    loaded = time.perf_counter() - start
    plain, size = eager(folder, given.device), predictor.manifest.input_space.size
    print(f"{predictor.manifest.architecture} on {predictor.runs_on}, loaded in {loaded:.0f} s; "
          f"best of {given.rounds} alternating rounds")  # fmt: skip
    for batch in given.batch or [8]:
        films = squares(size, batch)
        ours, theirs = alternating([partial(predictor.predict, films), partial(plain, films)], given.rounds)
        print(f"batch {batch:<3} Predictor {ours * batch:.1f} films/s, eager torch {theirs * batch:.1f} films/s, "
              f"ratio {ours / theirs:.2f}")  # fmt: skip
    if given.device == "cuda":
        films = np.stack([golden_image.square(size), *squares(size, 63)])
        exact = eager(folder, "cpu")(films)
        error = np.abs(predictor.predict(films).logits - exact)
        print(f"bfloat16 against float32 on {len(films)} films: logits differ by {error.max():.4f} at most, "
              f"{error.mean():.4f} in the mean, of a range of {np.ptp(exact):.2f}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artifact", type=Path, nargs="?", default=STARTER)
    parser.add_argument("--arch", help="random weights of this architecture instead of an artifact")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--batch", type=int, action="append")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = write_untrained(given.arch, Path(temporary) / "untrained") if given.arch else given.artifact
        report(folder, Path(temporary) / "cache", given)


if __name__ == "__main__":
    main()

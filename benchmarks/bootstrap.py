"""Compare the vectorised bootstrap over patients with one that draws images and recomputes the metrics each round.

    python -m benchmarks.bootstrap [--films 25596] [--patients 2797] [--rounds 1000] [--peer-rounds 10]

Number of images, labels and prevalence are those of NIH's official test list; scores are random. The comparison uses
AUROC and average precision of ml.metrics on the repeated images; both must give the same values. Prints seconds for all
rounds and the ratio per round (goal: at most 0.1).
"""

import argparse
import time

import numpy as np

from ml.bootstrap import Draws, bootstrap_ranking
from ml.metrics import auroc, average_precision

PREVALENCE = (0.128, 0.042, 0.182, 0.239, 0.068, 0.063, 0.022, 0.104, 0.071, 0.036, 0.043, 0.017, 0.045, 0.003)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--films", type=int, default=25_596)
    parser.add_argument("--patients", type=int, default=2_797)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--peer-rounds", type=int, default=10)
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    truth = (rng.random((given.films, len(PREVALENCE))) < PREVALENCE).astype(float)
    scores = rng.normal(size=truth.shape) + truth
    draws = Draws.of(rng.integers(0, given.patients, given.films), given.rounds)
    start = time.perf_counter()
    areas, precisions = bootstrap_ranking(truth, scores, draws)
    ours = time.perf_counter() - start
    start = time.perf_counter()
    for index in range(given.peer_rounds):
        films = np.repeat(np.arange(given.films), draws.counts[index][draws.group])
        for column in range(truth.shape[1]):
            assert abs(auroc(truth[films, column], scores[films, column]) - areas[index, column]) < 1e-12
            precision = average_precision(truth[films, column], scores[films, column])
            assert abs(precision - precisions[index, column]) < 1e-12
    peer = time.perf_counter() - start
    print(f"{given.films} films, {truth.shape[1]} labels, {given.rounds} rounds: {ours:.1f} s")
    print(f"per round against drawn films: {ours / given.rounds / (peer / given.peer_rounds):.3f}")


if __name__ == "__main__":
    main()

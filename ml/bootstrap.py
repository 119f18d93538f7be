"""Bootstrap confidence intervals over patients, because images of the same patient are not independent."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROUNDS = 1000
_CHUNK = 32
"""Rounds computed together: 32 x 25,596 cumulative weights fit into a core's cache."""


@dataclass(frozen=True)
class Interval:
    """A 95 % interval."""

    low: float
    high: float

    def pair(self) -> list[float]:
        """JSON-ready form."""
        return [self.low, self.high]


@dataclass(frozen=True, eq=False)
class Draws:
    """How often each patient is drawn in each round: `counts` (R, patients); `group` (N,) is each image's patient."""

    group: NDArray[np.intp]
    counts: NDArray[np.int16]

    @classmethod
    def of(cls, patients: Sequence[Any], rounds: int = ROUNDS, seed: int = 0) -> "Draws":
        """Draw as many patients as there are, with replacement, `rounds` times. Deterministic by seed."""
        names, group = np.unique(np.asarray(patients), return_inverse=True)
        rng = np.random.default_rng(seed)
        counts = np.empty((rounds, len(names)), dtype=np.int16)
        for index in range(rounds):
            counts[index] = np.bincount(rng.integers(len(names), size=len(names)), minlength=len(names))
        return cls(group, counts)

    def subset(self, chosen: NDArray[Any]) -> "Draws":
        """The same rounds for a subset of the images, so that two subsets are compared on the same patients."""
        return Draws(self.group[chosen], self.counts)

    def sums(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Sum of `values` (N, K) over the images drawn in each round, (R, K)."""
        patients = self.counts.shape[1]
        columns = [np.bincount(self.group, np.asarray(v, dtype=np.float64), patients) for v in np.asarray(values).T]
        return np.asarray(self.counts.astype(np.float64) @ np.stack(columns, axis=1))


def bootstrap_ranking(
    truth: NDArray[Any], scores: NDArray[Any], draws: Draws
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """AUROC and average precision of every label in every round, each (R, L); NaN where a round has one class only.

    Each label is sorted once; each round then needs one lookup and one cumulative sum.

    Args:
        truth: (N, L) of 0, 1 and NaN for unknown.
        scores: (N, L). Ties count one half for AUROC, and are taken together for precision.
        draws: the bootstrap draws.
    """
    truth, scores = np.asarray(truth, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    rounds = len(draws.counts)
    areas, precisions = np.full((rounds, truth.shape[1]), np.nan), np.full((rounds, truth.shape[1]), np.nan)
    for column in range(truth.shape[1]):
        known = np.flatnonzero(~np.isnan(truth[:, column]))
        order = known[np.argsort(-scores[known, column], kind="stable")]
        positive = truth[order, column] > 0
        if not positive.any() or positive.all():
            continue
        layout = _Ties.of(scores[order, column], positive)
        group = draws.group[order]
        for start in range(0, rounds, _CHUNK):
            weights = np.take(draws.counts[start : start + _CHUNK], group, axis=1)
            result = _weighted(weights, layout)
            areas[start : start + _CHUNK, column], precisions[start : start + _CHUNK, column] = result
    return areas, precisions


@dataclass(frozen=True, eq=False)
class _Ties:
    """Positive images in the order of scores, and the runs [start, end) of equal scores that contain them."""

    positives: NDArray[np.intp]
    first: NDArray[np.intp]
    start: NDArray[np.intp]
    end: NDArray[np.intp]

    @classmethod
    def of(cls, ordered: NDArray[np.float64], positive: NDArray[np.bool_]) -> "_Ties":
        starts = np.flatnonzero(np.diff(ordered, prepend=np.inf))
        ends = np.append(starts[1:], len(ordered))
        positives = np.flatnonzero(positive)
        run = np.searchsorted(starts, positives, side="right") - 1
        first = np.flatnonzero(np.diff(run, prepend=-1))
        return cls(positives, first, starts[run[first]], ends[run[first]])


def _weighted(weights: NDArray[np.int16], ties: _Ties) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    below = np.zeros((len(weights), weights.shape[1] + 1), dtype=np.int64)
    np.cumsum(weights, axis=1, out=below[:, 1:])
    hits = np.add.reduceat(weights[:, ties.positives].astype(np.float64), ties.first, axis=1)
    hits_so_far = np.cumsum(hits, axis=1)
    at_start, at_end = below[:, ties.start], below[:, ties.end]
    positives, negatives = hits_so_far[:, -1], below[:, -1] - hits_so_far[:, -1]
    misses_above = at_start - (hits_so_far - hits)
    misses_within = at_end - at_start - hits
    lost = np.sum(hits * (misses_above + misses_within / 2.0), axis=1)
    precision = np.sum(hits * hits_so_far / np.maximum(at_end, 1), axis=1)
    usable = (positives > 0) & (negatives > 0)
    area = np.where(usable, 1.0 - lost / np.maximum(positives * negatives, 1.0), np.nan)
    return area, np.where(usable, precision / np.maximum(positives, 1.0), np.nan)


def bootstrap_shares(hits: NDArray[Any], among: NDArray[Any], draws: Draws) -> NDArray[np.float64]:
    """Weighted share sum(hits) / sum(among) per column and round, (R, K); NaN where nothing is drawn.

    hits, among (N, K): numbers or booleans, hits counted only where `among` holds.
    """
    among = np.asarray(among, dtype=np.float64)
    total = draws.sums(among)
    return np.divide(draws.sums(hits * among), total, out=np.full_like(total, np.nan), where=total > 0)


def interval(samples: NDArray[np.float64]) -> Interval | None:
    """2.5th to 97.5th percentile of the finite samples; None when fewer than half are finite."""
    finite = samples[np.isfinite(samples)]
    if len(finite) * 2 < len(samples) or not len(finite):
        return None
    low, high = np.percentile(finite, [2.5, 97.5])
    return Interval(float(low), float(high))


def wilson(share: float, count: int) -> Interval:
    """Wilson's 95 % score interval of a share of `count` independent draws. Wilson 1927."""
    z = 1.959964
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * np.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    low = 0.0 if share == 0.0 else max(0.0, float(centre - half))
    return Interval(low, 1.0 if share == 1.0 else min(1.0, float(centre + half)))


def share_interval(share: float, samples: NDArray[np.float64], patients: int) -> Interval | None:
    """Interval of a share from its bootstrap `samples`, or Wilson's over `patients` where the share is 0 or 1.

    With a share of 0 or 1 every round gives the same value, so the bootstrap interval would have no width.
    """
    return wilson(share, patients) if share in (0.0, 1.0) and patients else interval(samples)

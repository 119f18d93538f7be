"""The order of the images, each rank's share of a batch, and the random numbers: functions of (seed, epoch, position).

Nothing here depends on the number of ranks, so a run that loses or gains a rank neither repeats nor skips an image.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


def epoch_order(train: NDArray[np.intp], seed: int, epoch: int) -> NDArray[np.intp]:
    """The images of one epoch in their order."""
    return train[np.random.default_rng([seed, epoch]).permutation(len(train))]


def global_batch(order: NDArray[np.intp], step: int, batch_size: int) -> NDArray[np.intp]:
    """The images of one step over all ranks, sorted: shards are read in one direction."""
    return np.sort(order[step * batch_size : (step + 1) * batch_size])


def share(batch: NDArray[np.intp], rank: int, world: int) -> NDArray[np.intp]:
    """A rank's share of a global batch; shares differ by one image at most, and each image is in exactly one."""
    return np.array_split(batch, world)[rank]


def pieces(own: NDArray[np.intp], micro_batch: int) -> list[NDArray[np.intp]]:
    """A rank's share in pieces of `micro_batch` images at most (0: one piece), as equal as possible.

    Equal, because a last piece of one image would spoil its batch-norm statistics.
    """
    count = -(-len(own) // micro_batch) if micro_batch else 1
    return np.array_split(own, max(1, count))


def uniforms(seed: int, epoch: int, images: NDArray[Any], columns: int) -> NDArray[np.float32]:
    """Random numbers in [0, 1), (len(images), columns), a function of seed, epoch, image and column alone.

    SplitMix64 (Steele et al. 2014) as a counter-based generator.
    """
    with np.errstate(over="ignore"):
        state = _mixed(np.uint64(seed) * _GOLDEN + np.uint64(epoch) + _GOLDEN)
        state = _mixed(state + np.asarray(images).astype(np.uint64)[:, None] * _GOLDEN)
        state = _mixed(state + (np.arange(1, columns + 1, dtype=np.uint64) * _GOLDEN)[None])
    return ((state >> np.uint64(40)).astype(np.float32) * np.float32(2**-24)).astype(np.float32)


def _mixed(value: Any) -> Any:
    value = (value ^ (value >> np.uint64(30))) * _MIX[0]
    value = (value ^ (value >> np.uint64(27))) * _MIX[1]
    return value ^ (value >> np.uint64(31))

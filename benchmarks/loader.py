"""Compare reading images from memory-mapped shards with decoding their PNG files, on one core.

    python -m benchmarks.loader [--images DIR] [--size 224 --size 256] [--films 8192] [--batch 64] [--seconds 3]

Random batches are read from shards that are larger than the processor's caches and lie in the page cache; a plain copy
of the same number of bytes is the limit. The comparison decodes PNGs of 1024 x 1024 pixels, as training without shards
would. Then the rate of building shards is measured, with all cores. --images names a folder of real PNGs; without it
they are synthetic. Goals: read 20,000 images/s per core from shards, build them from 25 PNG/s per core.
"""

import argparse
import itertools
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from ml.data.shard_build import build_shards, cores
from ml.dicom.radiograph import read_radiograph
from ml.model.transforms import InputSpace, to_square
from ml.phantom import generate

DISTINCT = 16
SIDE = 1024


def png_films(folder: Path, images: Path | None) -> list[Path]:
    """A few images as PNGs of 1024 x 1024 pixels."""
    if images is not None:
        return sorted(images.glob("*.png"))[:DISTINCT]
    paths = [folder / f"{seed}.png" for seed in range(DISTINCT)]
    for seed, path in enumerate(paths):
        Image.fromarray((generate(seed, SIDE).pixels >> 4).astype(np.uint8)).save(path)
    return paths


def shrunk(paths: list[Path], folder: Path, space: InputSpace) -> list[Path]:
    """The same images, fitted to the square already, so that many of them fill shards quickly."""
    small = [folder / f"{space.size}-{path.name}" for path in paths]
    for path, target in zip(paths, small, strict=True):
        Image.fromarray(to_square(read_radiograph(path).pixels, space)).save(target)
    return small


def named(paths: list[Path], count: int) -> dict[str, Path]:
    return {f"{number:06d}": path for number, path in zip(range(count), itertools.cycle(paths), strict=False)}


def rate(work: Callable[[], object], images: int, seconds: float) -> float:
    """Images/s of `work`, which processes `images` per call."""
    work()
    calls, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < seconds:
        work()
        calls += 1
    return calls * images / spent


def measure(paths: list[Path], space: InputSpace, folder: Path, given: argparse.Namespace) -> None:
    every = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    start = time.perf_counter()
    build_shards(named(paths, given.build), space, folder / f"build-{space.size}", progress=None)
    built = given.build / (time.perf_counter() - start) / cores()
    shards = build_shards(
        named(shrunk(paths, folder, space), given.films), space, folder / f"shards-{space.size}", progress=None
    )
    rng, decoded = np.random.default_rng(0), itertools.cycle(paths)
    whole = np.asarray(shards)
    batch = np.empty((given.batch, space.size, space.size), np.uint8)

    def copy() -> None:
        start = int(rng.integers(len(whole) - given.batch))
        np.copyto(batch, whole[start : start + given.batch])

    if every is not None:
        os.sched_setaffinity(0, {min(every)})
    try:
        gathered = rate(lambda: shards[rng.integers(len(shards), size=given.batch)], given.batch, given.seconds)
        limit = rate(copy, given.batch, given.seconds)
        png = rate(lambda: to_square(read_radiograph(next(decoded)).pixels, space), 1, given.seconds)
    finally:
        if every is not None:
            os.sched_setaffinity(0, every)
    print(
        f"{space.size} px: shards {gathered:,.0f} images/s a core, PNG {png:.1f}: ratio {gathered / png:,.0f}; "
        f"plain copy {limit:,.0f}: ratio {gathered / limit:.2f}; built at {built:.1f} PNG/s a core"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="folder of PNG films of 1024 x 1024 pixels")
    parser.add_argument("--size", type=int, action="append", help="side of the square; may be repeated")
    parser.add_argument("--films", type=int, default=8192, help="films in the shards that batches are drawn from")
    parser.add_argument("--build", type=int, default=512, help="PNGs to time the building with")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        paths = png_films(folder, given.images)
        for size in given.size or (224, 256):
            measure(paths, InputSpace(size), folder, given)


if __name__ == "__main__":
    main()

"""The image cache: the decoded images of a folder as shards, found again by a hash of the files."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from ml.data.folder import find_images, table_line
from ml.data.records import DatasetInvalid
from ml.data.shard_build import ImageRefused, build_shards
from ml.data.shards import FORMAT, Shards, ShardsInvalid
from ml.errors import RETRYABLE
from ml.model.transforms import InputSpace


def cached_images(
    root: Path, names: Sequence[str], space: InputSpace, cache_dir: Path, progress: str | None = "Reading films"
) -> Shards:
    """The named images, in that order, as shards of uint8 (size, size). The first call decodes them in parallel.

    A later call finds them again while the set of names, size, fit, and lengths and times of the files are the same.
    Order and normalisation do not matter.

    Args:
        root: folder of the data set.
        names: of the images.
        space: the network's input.
        cache_dir: where the shards are written.
        progress: title of the progress bar; None for no bar.

    Raises:
        DatasetInvalid: an image is missing or unreadable, or the cache can't be written.
    """
    if not names:
        raise DatasetInvalid(f"{root}: no films are left to read. Check the lists or the split column.")
    paths = find_images(root, names)
    try:
        shards = build_shards(
            paths, space, cache_dir / f"films-{space.size}-{_key(root, paths, space)}", progress=progress
        )
    except ImageRefused as error:
        remedy = "" if error.code in RETRYABLE else " Copy the file again, or remove it from the table and lists."
        raise DatasetInvalid(
            f"{paths[error.name].relative_to(root)} ({table_line(root, error.name)}) can't be read: {error.code}. "
            f"{error.detail}{remedy}"
        ) from error
    except ShardsInvalid as error:
        raise DatasetInvalid(str(error)) from error
    return shards.select(names)


def _key(root: Path, paths: Mapping[str, Path], space: InputSpace) -> str:
    files = [(name, (status := paths[name].stat()).st_size, status.st_mtime_ns) for name in sorted(paths)]
    empty = [name for name, size, _ in files if not size]
    if empty:
        # Report this now and not after an hour of decoding.
        raise DatasetInvalid(
            f"{len(empty)} of {len(files)} image files have no bytes, first {empty[0]} ({table_line(root, empty[0])}). "
            "Copy them again."
        )
    text = json.dumps([FORMAT, space.size, space.fit, space.resize, files])
    return hashlib.sha256(text.encode()).hexdigest()[:24]

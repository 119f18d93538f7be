"""The films of a folder as shards, decoded once and found again by what they were made of."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from ml.data.records import DatasetInvalid
from ml.data.shard_build import ImageRefused, build_shards
from ml.data.shards import FORMAT, Shards, ShardsInvalid
from ml.data.tables import find_images, table_line
from ml.errors import RETRYABLE
from ml.model.transforms import InputSpace


def cached_images(
    root: Path, names: Sequence[str], space: InputSpace, cache_dir: Path, progress: str | None = "Reading films"
) -> Shards:
    """The named films in their order as shards of uint8 (size, size), built in parallel when first asked for.

    They are found again as long as set of names, size, fit and the files' lengths and times stay the same; order and
    normalisation do not matter. Raises DatasetInvalid: missing or unreadable films, no permission, full disk.
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
        # Known before an hour of decoding.
        raise DatasetInvalid(
            f"{len(empty)} of {len(files)} image files have no bytes, first {empty[0]} ({table_line(root, empty[0])}). "
            "Copy them again."
        )
    text = json.dumps([FORMAT, space.size, space.fit, space.resize, files])
    return hashlib.sha256(text.encode()).hexdigest()[:24]

"""Decode images into shards, in parallel; an interrupted build continues where it stopped.

Sandboxed processes (`ml.sandbox`) decode; this process writes the images in order and computes the hash. A shard is
written under a temporary name, synced and renamed, so a shard with its final name is complete. The manifest is written
last, so a folder with a manifest is complete.
"""

import errno
import fcntl
import hashlib
import json
import os
import shutil
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ml.data.shards import FORMAT, MANIFEST, Shard, Shards, ShardsInvalid, array_header, intact, sha256_of, shard_bytes
from ml.dicom.radiograph import read_radiograph
from ml.dicom.source import Source
from ml.errors import CODES, InputRejected
from ml.model.artifact import write_atomically
from ml.model.transforms import InputSpace, to_square
from ml.sandbox.pool import Sandbox
from ml.sandbox.wire import contract

SHARD_IMAGES: Final = 4096
_CHUNK: Final = 16
_MEMORY_BYTES: Final = 2 << 30
_CHUNK_CPU_SECONDS: Final = 120
_CHUNK_WALL_SECONDS: Final = 300.0
_WAIT_SECONDS: Final = 0.2

_Answer = tuple[NDArray[np.uint8], tuple[int, str, str] | None]


class ImageRefused(ShardsInvalid):
    """An image can't be decoded: its name, a code of `ml.errors.CODES`, and what to do."""

    def __init__(self, name: str, code: str, detail: str) -> None:
        super().__init__(f"{name}: {code}. {detail}")
        self.name, self.code, self.detail = name, code, detail


def cores() -> int:
    """Number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def build_shards(
    sources: Mapping[str, Path],
    space: InputSpace,
    folder: Path,
    *,
    workers: int | None = None,
    progress: str | None = "Reading films",
    shard_images: int = SHARD_IMAGES,
) -> Shards:
    """Open the shards in `folder`; build them first where they are incomplete.

    Shards that an interrupted build completed are kept. Other processes that need the same folder wait for the build.

    Args:
        sources: file of each image by name.
        space: the network's input, to whose square the images are fitted.
        folder: where the shards are.
        workers: number of decoding processes; by default one per core.
        progress: title of the progress bar; None for no bar.
        shard_images: images per shard.

    Raises:
        ImageRefused: an image can't be decoded.
        ShardsInvalid: the folder can't be written, or the disk is full.
    """
    # Try without the lock first, because a read-only folder can have no lock file.
    with suppress(ShardsInvalid):
        return Shards.open(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _build_lock(folder, progress):
            try:
                return Shards.open(folder)
            except ShardsInvalid:
                (folder / MANIFEST).unlink(missing_ok=True)
            _build(sources, space, folder, workers or cores(), progress, shard_images)
        return Shards.open(folder)
    except OSError as error:
        raise ShardsInvalid(_explain(error, folder)) from error


def _explain(error: OSError, folder: Path) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{folder}: the disk is full. Free some space or choose another folder; complete shards are kept."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{folder}: no permission to write here. Change it, or choose another folder for the output."
    return f"{folder}: can't be written ({error.strerror or type(error).__name__}). Choose another folder."


@contextmanager
def _build_lock(folder: Path, progress: str | None) -> Iterator[None]:
    """Hold the folder's lock, which the system releases when the process ends."""
    with (folder / ".lock").open("w") as lock:
        if not _try_lock(lock):
            if progress is not None:
                tqdm.write(f"{progress}: another process builds {folder.name}; waiting for it.", file=sys.stderr)
            while not _try_lock(lock):
                time.sleep(_WAIT_SECONDS)
        yield


def _try_lock(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _build(
    sources: Mapping[str, Path],
    space: InputSpace,
    folder: Path,
    workers: int,
    progress: str | None,
    shard_images: int,
) -> None:
    for leftover in folder.glob(".shard-*"):
        leftover.unlink()
    names = sorted(sources)
    parts = [names[start : start + shard_images] for start in range(0, len(names), shard_images)]
    files = [folder / f"shard-{number:05d}.npy" for number in range(len(parts))]
    todo = [not intact(path, len(part), space.size) for path, part in zip(files, parts, strict=True)]
    needed = sum(shard_bytes(len(part), space.size) for part, wanted in zip(parts, todo, strict=True) if wanted)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ShardsInvalid(
            f"{folder}: the decoded films need {needed / 1e9:.2f} GB, but the disk has {free / 1e9:.2f} GB left. "
            "Free some space or choose another folder."
        )
    shards = []
    with (
        Sandbox(
            min(workers, max(1, len(names) // _CHUNK)),
            _MEMORY_BYTES,
            _CHUNK_CPU_SECONDS,
            _CHUNK_WALL_SECONDS,
            modules=["ml.data.shard_build"],
        ) as sandbox,
        tqdm(total=len(names), desc=progress, disable=progress is None, unit="film", smoothing=0.05) as bar,
    ):
        for path, part, wanted in zip(files, parts, todo, strict=True):
            if wanted:
                images = _decoded([(name, sources[name]) for name in part], space, sandbox, 2 * workers + 2)
                sha256 = _write(path, len(part), space.size, images, bar)
            else:
                sha256 = sha256_of(path)
                bar.update(len(part))
            shards.append(Shard(path.name, len(part), sha256))
    manifest = {
        "format": FORMAT,
        "size": space.size,
        "fit": space.fit,
        "resize": space.resize,
        "shards": [vars(shard) for shard in shards],
        "names": names,
    }
    write_atomically(folder / MANIFEST, json.dumps(manifest).encode())


def _write(path: Path, images: int, size: int, chunks: Iterable[NDArray[np.uint8]], bar: Any) -> str:
    """Write one shard under a temporary name, sync and rename it; returns its SHA-256."""
    aside, digest = path.with_name(f".{path.name}.{os.getpid()}"), hashlib.sha256()
    try:
        with aside.open("wb") as stream:
            header = array_header(images, size)
            stream.write(header)
            digest.update(header)
            for chunk in chunks:
                stream.write(chunk.data)
                digest.update(chunk.data)
                bar.update(len(chunk))
            stream.flush()
            os.fsync(stream.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    return digest.hexdigest()


def _decoded(
    images: Sequence[tuple[str, Path]], space: InputSpace, sandbox: Sandbox, max_pending: int
) -> Iterator[NDArray[np.uint8]]:
    """Decode chunks of images uint8 (n, S, S) in order, with at most `max_pending` chunks in work."""
    chunks = [images[start : start + _CHUNK] for start in range(0, len(images), _CHUNK)]
    pending: deque[tuple[Sequence[tuple[str, Path]], Future[_Answer]]] = deque()
    for chunk in chunks:
        pending.append((chunk, _submit(sandbox, chunk, space)))
        if len(pending) >= max_pending:
            yield _received(*pending.popleft(), space, sandbox)
    while pending:
        yield _received(*pending.popleft(), space, sandbox)


def _submit(sandbox: Sandbox, chunk: Sequence[tuple[str, Path]], space: InputSpace) -> "Future[_Answer]":
    return sandbox.submit(fit_images, [path for _, path in chunk], space.to_dict())


def _received(
    chunk: Sequence[tuple[str, Path]], future: "Future[_Answer]", space: InputSpace, sandbox: Sandbox
) -> NDArray[np.uint8]:
    try:
        squares, refused = future.result()
    except InputRejected as error:
        if len(chunk) == 1:
            raise ImageRefused(chunk[0][0], error.code, error.detail) from error
        # One of these images ended the child. Decode them one by one to find it.
        singles = [_received([image], _submit(sandbox, [image], space), space, sandbox) for image in chunk]
        return np.concatenate(singles)
    if refused is not None:
        index, code, detail = refused
        raise ImageRefused(chunk[index][0], code, detail)
    return squares


def _accept_images(reply: Any, sources: Sequence[Source], input_space: Mapping[str, Any]) -> _Answer:
    squares, refused = reply
    size = InputSpace.from_dict(input_space).size
    count = len(sources) if refused is None else int(refused[0])
    if not isinstance(squares, np.ndarray) or squares.dtype != np.uint8 or squares.shape != (count, size, size):
        raise ValueError("not squares of the requested size")
    if refused is None:
        return squares, None
    index, code, detail = refused
    if not 0 <= index < len(sources) or code not in CODES:
        raise ValueError("not a refusal")
    return squares, (index, code, str(detail))


def _images_bytes(sources: Sequence[Source], input_space: Mapping[str, Any]) -> int:
    return len(sources) * int(InputSpace.from_dict(input_space).size ** 2)


@contract(_accept_images, _images_bytes)
def fit_images(sources: Sequence[Source], input_space: Mapping[str, Any]) -> _Answer:
    """Decode images and fit them to the square; runs in a sandboxed child, with the same functions as serving.

    Returns:
        All images uint8 (n, S, S) and None; or the images before the first refused one and its (index, code, detail).
    """
    space = InputSpace.from_dict(input_space)
    squares = np.empty((len(sources), space.size, space.size), np.uint8)
    for index, source in enumerate(sources):
        try:
            squares[index] = to_square(read_radiograph(source).pixels, space)
        except InputRejected as error:
            return squares[:index], (index, error.code, error.detail)
    return squares, None

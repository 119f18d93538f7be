"""Read cached images from shards: memory-mapped files of uint8 (n, S, S) and a manifest with their hashes.

Decoding a PNG of 1024 x 1024 pixels takes 30 ms of a core, reading a cached image 0.03 ms. `ml.data.shard_build`
writes the shards.
"""

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

MANIFEST = "manifest.json"
FORMAT = 1

_BLOCK = 1 << 20


class ShardsInvalid(Exception):
    """A folder of shards is incomplete or damaged, or can't be built. The message names the file and the remedy."""


class ImageArray(Protocol):
    """Images uint8 (N, S, S) for training and evaluation: an array in memory, or `Shards`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, S, S)."""

    def __len__(self) -> int:
        """Number of images."""

    def __getitem__(self, index: Any, /) -> NDArray[np.uint8]:
        """Images by index, slice or array of indices."""


@dataclass(frozen=True)
class Shard:
    """One file: its name, its number of images, and the SHA-256 of its bytes. Stored in the manifest."""

    file: str
    films: int
    sha256: str


def array_header(images: int, size: int) -> bytes:
    """The .npy header (NumPy format 1.0) of a shard."""
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"descr": "|u1", "fortran_order": False, "shape": (images, size, size)})
    return out.getvalue()


def shard_bytes(images: int, size: int) -> int:
    """Length of a shard's file."""
    return len(array_header(images, size)) + images * size * size


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


class Shards:
    """Images in the selected order, indexed like an array uint8 (N, S, S).

    An index, a slice or an array of indices gives a copy in memory. Files are mapped on first use, so pickling an
    object, or inheriting it by a fork, copies only file names.
    """

    dtype = np.dtype(np.uint8)
    ndim = 3

    def __init__(
        self, folder: Path, size: int, names: Sequence[str], shards: Sequence[Shard], rows: NDArray[np.intp]
    ) -> None:
        self.folder, self.size = folder, size
        self._names, self._shards, self._rows = tuple(names), tuple(shards), rows
        self._ends = np.cumsum([shard.films for shard in shards])
        self._maps: dict[int, NDArray[np.uint8]] = {}

    @classmethod
    def open(cls, folder: Path) -> "Shards":
        """All images of a complete folder, sorted by name. Sizes are checked, hashes are not.

        Raises:
            ShardsInvalid: the manifest is missing or damaged, or a file is missing or too short.
        """
        path = folder / MANIFEST
        try:
            value = json.loads(path.read_bytes())
            names, size = [str(name) for name in value["names"]], int(value["size"])
            shards = [Shard(str(s["file"]), int(s["films"]), str(s["sha256"])) for s in value["shards"]]
            sound = value["format"] == FORMAT and sum(s.films for s in shards) == len(names) > 0
        except FileNotFoundError as error:
            raise ShardsInvalid(f"{path} is missing. Delete the folder; it is built again.") from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ShardsInvalid(f"{path} is damaged ({type(error).__name__}). Delete the folder.") from error
        if not sound:
            raise ShardsInvalid(f"{path} is of another version of this program, or damaged. Delete the folder.")
        for shard in shards:
            if not intact(folder / shard.file, shard.films, size):
                raise ShardsInvalid(f"{folder / shard.file} is missing or cut off. Delete it; it is built again.")
        return cls(folder, size, names, shards, np.arange(len(names), dtype=np.intp))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the images, in order."""
        return tuple(self._names[row] for row in self._rows)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(N, S, S)."""
        return len(self._rows), self.size, self.size

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> NDArray[np.uint8]:
        rows = np.asarray(self._rows[index])
        return self._gather(rows.ravel()).reshape(*rows.shape, self.size, self.size)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("Shards can't become an array without a copy.")
        return np.asarray(self[:], dtype=dtype)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_maps": {}}

    def select(self, names: Sequence[str]) -> "Shards":
        """The named images in that order. Raises KeyError for an unknown name."""
        position: Mapping[str, int] = {self._names[row]: int(row) for row in self._rows}
        rows = np.array([position[name] for name in names], dtype=np.intp)
        return Shards(self.folder, self.size, self._names, self._shards, rows)

    def verify(self, progress: str | None = None) -> None:
        """Compare every file with its hash in the manifest. Raises ShardsInvalid with the name of the file."""
        for shard in tqdm(self._shards, desc=progress, disable=progress is None, unit="shard"):
            path = self.folder / shard.file
            if not path.is_file() or sha256_of(path) != shard.sha256:
                raise ShardsInvalid(f"{path} is not what its manifest says. Delete the folder; it is built again.")

    def _gather(self, rows: NDArray[np.intp]) -> NDArray[np.uint8]:
        out = np.empty((len(rows), self.size, self.size), np.uint8)
        which = np.searchsorted(self._ends, rows, side="right")
        places = rows - np.concatenate(([0], self._ends))[which]
        # One copy per image. Fancy indexing of each map would copy twice, and needs sorting by shard.
        for position, (number, place) in enumerate(zip(which.tolist(), places.tolist(), strict=True)):
            images = self._maps.get(number)
            out[position] = (self._map(number) if images is None else images)[place]
        return out

    def _map(self, number: int) -> NDArray[np.uint8]:
        shard = self._shards[number]
        path = self.folder / shard.file
        try:
            images = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise ShardsInvalid(f"{path} can't be opened: {error}. Delete the folder; it is built again.") from error
        if images.shape != (shard.films, self.size, self.size) or images.dtype != np.uint8:
            raise ShardsInvalid(f"{path} is not what its manifest says. Delete the folder; it is built again.")
        # A plain view, because slicing a memmap object takes longer than copying the image.
        self._maps[number] = images.view(np.ndarray)
        return self._maps[number]


def intact(path: Path, images: int, size: int) -> bool:
    """Whether a shard's file exists in its full length."""
    return path.is_file() and path.stat().st_size == shard_bytes(images, size)

"""Read a foreign file as named tensors: safetensors directly, other formats in a limited child process."""

import json
import math
import os
import struct
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

from numpy.typing import NDArray

from ml.importers.child import OUT_OF_MEMORY, REFUSED
from ml.importers.errors import ImportRefused

MAX_SOURCE_BYTES: Final = 2 << 30
MEMORY_BYTES: Final = 1 << 30
CPU_SECONDS: Final = 120
WALL_SECONDS: Final = 180
_KEPT_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


@dataclass(frozen=True, eq=False)
class Source:
    """The content of a file: tensors by name, and `facts` about a pickled module (class, layers, attributes)."""

    name: str
    tensors: Mapping[str, NDArray[Any]]
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def attributes(self) -> Mapping[str, Any]:
        """Plain attributes of a pickled module."""
        return self.facts.get("attributes", {})


def read_source(path: Path) -> Source:
    """Read a .safetensors file or a file of torch.save without executing anything in it.

    Raises:
        ImportRefused: the file can't be read as a model.
    """
    if not path.is_file():
        raise ImportRefused(f"No file {path.name}: give the path of an existing file.")
    size = path.stat().st_size
    if not 0 < size <= MAX_SOURCE_BYTES:
        raise ImportRefused(f"{path.name} has {size} bytes; a model has up to {MAX_SOURCE_BYTES >> 30} GiB.")
    _refuse_stand_in(path)
    if path.suffix == ".safetensors":
        return Source(path.name, _safetensors(path)[0], {"layout": "safetensors"})
    with path.open("rb") as stream, tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "tensors.safetensors"
        _convert(stream, out, size)
        tensors, metadata = _safetensors(out)
    return Source(path.name, tensors, json.loads(metadata["facts"]))


def _refuse_stand_in(path: Path) -> None:
    """Refuse files that a failed download often leaves instead of the model."""
    with path.open("rb") as stream:
        head = stream.read(256).lstrip().lower()
    if head.startswith(b"version https://git-lfs"):
        raise ImportRefused(f"{path.name} is a Git LFS pointer, not the model itself: fetch it with git lfs pull.")
    if head.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise ImportRefused(f"{path.name} is a web page, not a model: download the file itself.")


def _convert(stream: BinaryIO, out: Path, size: int) -> None:
    environment = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
    environment["PYTHONPATH"] = os.pathsep.join(entry for entry in sys.path if entry)
    # The stacks of a thread pool would use up the limited address space.
    environment |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    reason = out.with_suffix(".reason")
    memory = MEMORY_BYTES + 6 * size
    with out.open("wb") as target, reason.open("wb") as errors:
        try:
            process = subprocess.run(
                [sys.executable, "-P", "-m", "ml.importers.child", str(memory), str(CPU_SECONDS)],
                stdin=stream,
                stdout=target,
                stderr=errors,
                env=environment,
                timeout=WALL_SECONDS,
                start_new_session=True,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise ImportRefused(f"Reading the file took over {WALL_SECONDS} s, which no network needs.") from error
        except OSError as error:
            raise ImportRefused(f"The process that reads foreign files can't be started: {error.strerror}.") from error
    if process.returncode == 0:
        return
    with reason.open("rb") as errors:
        message = errors.read(2000).decode(errors="replace").strip()
    if process.returncode == REFUSED and message:
        raise ImportRefused(message)
    if process.returncode == OUT_OF_MEMORY:
        raise ImportRefused(
            f"Reading the file needs over {memory >> 20} MiB of memory, which no network of its size does."
        )
    last = message.splitlines()[-1] if message else f"status {process.returncode}"
    raise ImportRefused(f"Reading the file broke off ({last}): it is damaged, or made to do harm.")


def _safetensors(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        _check_header(path)
        with path.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            metadata = json.loads(stream.read(length)).get("__metadata__", {})
        return load_file(path), metadata
    except (SafetensorError, ValueError, KeyError, TypeError, OSError, struct.error) as error:
        raise ImportRefused(f"{path.name} is not a safetensors file, or damaged. Copy it again.") from error


def _check_header(path: Path) -> None:
    """Refuse types that NumPy lacks (bfloat16) with a clear message, and tensors that are too large."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as opened:
        for key in opened.keys():  # noqa: SIM118 (not a mapping)
            kind, shape = opened.get_slice(key).get_dtype(), opened.get_slice(key).get_shape()
            if kind not in ("F64", "F32", "F16", "I64", "I32", "I16", "I8", "U8", "BOOL"):
                raise ImportRefused(f"{path.name} holds {kind} in {key}: save the model as float32.")
            if math.prod(shape) > MAX_SOURCE_BYTES:
                raise ImportRefused(f"{path.name} holds a tensor larger than any network's.")

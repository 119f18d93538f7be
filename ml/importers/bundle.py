"""Import our own artifact from a folder or an archive: only its two files, by name, within size limits."""

import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Generator
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, Final

from ml.importers.errors import ImportRefused
from ml.model import golden_image
from ml.model.artifact import MAX_WEIGHTS_BYTES, WEIGHTS, load_artifact
from ml.model.manifest import MANIFEST, MAX_MANIFEST_BYTES
from ml.model.predictor import Predictor

LIMITS: Final = {MANIFEST: MAX_MANIFEST_BYTES, WEIGHTS: MAX_WEIGHTS_BYTES}
MAX_ENTRIES: Final = 100
MAX_OTHER_BYTES: Final = 64 << 20
"""Limit for other entries of an archive, which are skipped: a compressed entry must be unpacked to skip it."""

_CHUNK: Final = 1 << 20
_BROKEN: Final = (
    zipfile.BadZipFile, zlib.error, tarfile.TarError, lzma.LZMAError, EOFError, OSError, NotImplementedError,
    RuntimeError,
)  # fmt: skip
"""What the libraries raise for a file that is not an archive, or is damaged or encrypted."""


def unpack(source: Path, directory: Path) -> None:
    """Copy manifest.json and model.safetensors of a folder, .zip or .tar(.gz, .xz, .bz2) into `directory`.

    In an archive they are at the top or in one folder. Nothing else is written, whatever names the archive contains.
    `ml.model.artifact.load_artifact` checks the two files later.

    Raises:
        ImportRefused: the source is not a folder or archive with these files.
    """
    if source.is_dir():
        for name in LIMITS:
            if not (source / name).is_file():
                raise ImportRefused(f"{source.name} has no {name}: give the folder that a training or an export wrote.")
            shutil.copyfile(source / name, directory / name)
        return
    if not source.is_file():
        raise ImportRefused(f"No file or folder {source.name}: give an existing path.")
    found: set[str] = set()
    try:
        # Open the file here, because the libraries do not close a file that they do not recognise.
        with source.open("rb") as raw, closing(_entries(raw)) as entries:
            for entry, stream in entries:
                name = entry.name
                if name in found:
                    raise ImportRefused(f"{source.name} holds {name} more than once. Pack the folder again.")
                found.add(name)
                with stream, (directory / name).open("wb") as target:
                    _copy(stream, target, LIMITS[name], name)
    except _BROKEN as error:
        raise ImportRefused(
            f"{source.name} is neither a .zip nor a .tar that can be read. Pack the folder that a training or an "
            "export wrote; a file of torch.save takes --format state-dict, chexnet or xrv."
        ) from error
    if missing := set(LIMITS) - found:
        raise ImportRefused(
            f"{source.name} has no {sorted(missing)[0]} at its top or in its one folder. A file of torch.save takes "
            "--format state-dict, chexnet or xrv."
        )


def require_golden(directory: Path) -> None:
    """Check the golden image with the weights and the input space of an unpacked artifact.

    Raises:
        ArtifactInvalid: the files are damaged, or were changed after they were packaged.
    """
    # Torch is imported only where a network is run.
    import torch

    from ml.model.onnx_export import serving_graph

    artifact = load_artifact(directory)
    square = golden_image.square(artifact.manifest.input_space.size)
    with torch.inference_mode():
        logits = serving_graph(artifact)(torch.from_numpy(square[None].copy()))[0]
    golden_image.check(artifact.manifest, logits[0].numpy(), Predictor.golden_tolerance)


def _entries(raw: BinaryIO) -> Generator[tuple[PurePosixPath, IO[bytes]], None, None]:
    if zipfile.is_zipfile(raw):
        with zipfile.ZipFile(raw) as archive:
            for info in archive.infolist()[: MAX_ENTRIES + 1]:
                if _wanted(info.filename, info.file_size, len(archive.infolist())) and not info.is_dir():
                    yield PurePosixPath(info.filename), archive.open(info)
        return
    raw.seek(0)
    with tarfile.open(fileobj=raw) as packed:
        for count, member in enumerate(packed, start=1):
            wanted = _wanted(member.name, member.size, count)
            if not (member.isfile() or member.isdir()):
                raise ImportRefused(f"{member.name[:100]} is a link or a device; an artifact has plain files only.")
            stream = packed.extractfile(member) if wanted and member.isfile() else None
            if stream is not None:
                yield PurePosixPath(member.name), stream


def _wanted(name: str, size: int, count: int) -> bool:
    path = PurePosixPath(name)
    limit = LIMITS.get(path.name, MAX_OTHER_BYTES)
    if count > MAX_ENTRIES or size > limit:
        raise ImportRefused(
            f"The archive holds over {MAX_ENTRIES} entries, or {path.name[:100]} over {limit >> 20} MiB."
        )
    if path.is_absolute() or ".." in path.parts or "\\" in name:
        raise ImportRefused(f"The archive names a path outside itself ({name[:100]}): it was made to do harm.")
    return path.name in LIMITS and len(path.parts) <= 2


def _copy(source: IO[bytes], target: IO[bytes], limit: int, name: str) -> None:
    """Copy at most `limit` bytes, because the size in the archive's directory may be false."""
    written = 0
    while chunk := source.read(_CHUNK):
        written += len(chunk)
        if written > limit:
            raise ImportRefused(f"{name} unpacks to more than {limit >> 20} MiB.")
        target.write(chunk)

"""A model version on disk: a folder with `manifest.json` and `model.safetensors`. Neither file holds code.

The manifest holds all that serving, reports and auditors need. A web process reads it without loading the weights.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.model.held_out import PREFIX as _HELD_OUT_PREFIX
from ml.model.held_out import HeldOutRecord
from ml.model.input_check import FeatureCheck
from ml.model.manifest import MANIFEST, ArtifactInvalid, Manifest, read_manifest

WEIGHTS = "model.safetensors"
MAX_WEIGHTS_BYTES = 2 << 30
_FEATURE_CHECK_PREFIX = "gate."
_HEAD = ("classifier.weight", "classifier.bias")


@dataclass(frozen=True, eq=False)
class Artifact:
    """A verified artifact.

    It has the folder, manifest, head bias (L,), number of pooled features, feature check and held-out outputs.

    The weights stay on disk.
    """

    path: Path
    manifest: Manifest
    bias: NDArray[np.float32]
    channels: int
    feature_check: FeatureCheck | None
    held_out: HeldOutRecord | None

    @property
    def sha256(self) -> str:
        """Identity of the version."""
        return self.manifest.sha256

    @property
    def weights_path(self) -> Path:
        """The safetensors file."""
        return self.path / WEIGHTS


def load_artifact(directory: Path) -> Artifact:
    """Verify a whole artifact: manifest, hash, format, shapes of head and feature check, every value finite.

    Nothing is unpickled.

    Raises:
        ArtifactInvalid: with a code of CODES.
    """
    directory = Path(directory)
    manifest = read_manifest(directory)
    path = directory / WEIGHTS
    if not path.is_file():
        raise ArtifactInvalid("missing-file", "Copy the folder again.")
    if path.stat().st_size > MAX_WEIGHTS_BYTES or file_sha256(path) != manifest.weights_sha256:
        raise ArtifactInvalid("weights-hash-mismatch", "Copy the artifact again from where it was made.")
    tensors = _checked_tensors(path)
    weight, bias = (tensors.get(name) for name in _HEAD)
    if (
        weight is None
        or bias is None
        or weight.ndim != 2
        or len(weight) != len(manifest.labels)
        or bias.shape != weight.shape[:1]
    ):
        raise ArtifactInvalid("weights-shape-mismatch", "Expected classifier.weight (labels, C) and classifier.bias.")
    channels = int(weight.shape[1])
    check = _feature_check(manifest, tensors, channels)
    try:
        held_out = HeldOutRecord.from_tensors(tensors)
    except ValueError as error:
        raise ArtifactInvalid("held-out-invalid", str(error)) from error
    return Artifact(directory, manifest, bias.astype(np.float32), channels, check, held_out)


def _feature_check(manifest: Manifest, tensors: Mapping[str, NDArray[Any]], channels: int) -> FeatureCheck | None:
    prefix = _FEATURE_CHECK_PREFIX
    arrays = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    if manifest.gate is None and not arrays:
        return None
    try:
        check = FeatureCheck.from_parts(arrays, manifest.gate or {})
        if check.mean.shape != (channels,) or not (check.scale > 0).all() or not (check.variance > 0).all():
            raise ValueError("The input check does not fit the features.")
    except ValueError as error:
        raise ArtifactInvalid("gate-invalid", str(error)) from error
    return check


def _checked_tensors(path: Path) -> dict[str, NDArray[Any]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors: dict[str, NDArray[Any]] = load_file(path)
    except (SafetensorError, ValueError, KeyError, TypeError, OSError) as error:
        raise ArtifactInvalid("weights-invalid", "Pickles are refused: convert the model with import_model.") from error
    for name, value in tensors.items():
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise ArtifactInvalid("weights-not-finite", f"First in {name}.")
    return tensors


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def network_tensors(path: Path) -> dict[str, NDArray[Any]]:
    """The network's own tensors of a weights file, floats as float32."""
    tensors = _checked_tensors(path)
    return {
        k: v.astype(np.float32) if v.dtype.kind == "f" else v
        for k, v in tensors.items()
        if not k.startswith((_FEATURE_CHECK_PREFIX, _HELD_OUT_PREFIX))
    }


def half_precision(tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Matrices and kernels as float16; vectors (biases, batch-norm statistics) stay float32 for their range."""
    return {k: v.astype(np.float16) if v.ndim > 1 and v.dtype == np.float32 else v for k, v in tensors.items()}


def save_artifact(
    directory: Path,
    manifest: Manifest,
    tensors: Mapping[str, NDArray[Any]],
    check: FeatureCheck | None = None,
    held_out: HeldOutRecord | None = None,
) -> Manifest:
    """Write an artifact folder, each file atomically, and verify it by loading it again.

    Args:
        directory: created where it is missing.
        manifest: without the hash of the weights and the scalars of the feature check, which are filled in.
        tensors: the network's, float32 or float16.
        check: the parameters of the feature check, if the version has one.
        held_out: the outputs that calibration and operating points were chosen on, where they are known.

    Returns:
        The manifest as it was written.

    Raises:
        ArtifactInvalid: the written artifact does not load.
    """
    from safetensors.numpy import save

    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    arrays = {f"{_FEATURE_CHECK_PREFIX}{name}": value for name, value in check.tensors().items()} if check else {}
    arrays |= held_out.tensors() if held_out else {}
    weights = save({k: np.ascontiguousarray(v) for k, v in {**tensors, **arrays}.items()})
    complete = replace(
        manifest, gate=check.scalars() if check else None, weights_sha256=hashlib.sha256(weights).hexdigest()
    )
    write_atomically(directory / WEIGHTS, weights)
    text = json.dumps(complete.to_dict(), indent=1, sort_keys=True, allow_nan=False)
    write_atomically(directory / MANIFEST, text.encode() + b"\n")
    return load_artifact(directory).manifest


def write_atomically(path: Path, content: bytes) -> None:
    """Write a temporary file, sync and rename it, so that a reader sees the old file or the complete new one."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with aside.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)

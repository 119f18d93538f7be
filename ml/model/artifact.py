"""A model version on disk: a folder with `manifest.json` and `model.safetensors`. Neither file holds code.

The manifest holds all that serving, reports and auditors need. A web process reads it without loading the weights.
"""

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.labels import LABELS
from ml.model.calibration import Platt
from ml.model.input_check import FeatureCheck
from ml.model.saliency import CamScale
from ml.model.transforms import InputSpace

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
WEIGHTS = "model.safetensors"
MAX_MANIFEST_BYTES = 4 << 20
MAX_WEIGHTS_BYTES = 2 << 30
_FEATURE_CHECK_PREFIX = "gate."
_HEAD = ("classifier.weight", "classifier.bias")

CODES: dict[str, str] = {
    "missing-file": "The folder lacks manifest.json or model.safetensors.",
    "manifest-invalid": "manifest.json is not a manifest of this schema.",
    "labels-mismatch": "The labels are not labels of ChestX-ray14 in their order.",
    "weights-hash-mismatch": "model.safetensors is not the file that the manifest was written for.",
    "weights-invalid": "model.safetensors is not a safetensors file.",
    "weights-shape-mismatch": "The tensors do not fit the architecture.",
    "weights-not-finite": "The tensors contain NaN or infinity.",
    "identity-mismatch": "The stored files are another version than the registered one.",
    "golden-mismatch": "The network does not repeat the answer to the golden image that it was packaged with.",
    "gate-invalid": "The input check's parameters are incomplete or of unequal shape.",
}


class ArtifactInvalid(Exception):
    """An artifact that must not be served. `code` is a key of CODES, `detail` says what to do."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {CODES[code]} {detail}")
        self.code = code
        self.detail = detail


@dataclass(frozen=True)
class Threshold:
    """Operating point of one label on calibrated probability: positive when probability >= value.

    `positives` is the number of validation images with the finding on which it was chosen; None where it is unknown.
    """

    value: float
    strategy: str
    positives: int | None


@dataclass(frozen=True)
class Manifest:
    """Everything about a version except its weights.

    `labels` are the findings that the network was trained on: LABELS or some of them, in that order. There is no output
    for the others, so that no placeholder can pass for a probability. `gate` holds the scalars of the `FeatureCheck`.
    """

    name: str
    architecture: str
    input_space: InputSpace
    grid: tuple[int, int]
    thresholds: Mapping[str, Threshold | None]
    threshold_notes: Mapping[str, str]
    calibration: Mapping[str, Platt]
    cam_scale: Mapping[str, CamScale]
    gate: Mapping[str, float] | None
    metrics: Mapping[str, Any]
    data: Mapping[str, Any]
    card: str
    weights_sha256: str
    labels: tuple[str, ...] = LABELS
    schema_version: int = field(default=SCHEMA_VERSION)
    golden_logits: tuple[float, ...] | None = None
    """The network's logits for the golden image (`ml.model.golden_image.square`) when it was packaged."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        value = {f.name: getattr(self, f.name) for f in fields(self)}
        value["labels"] = list(self.labels)
        value["grid"] = list(self.grid)
        value["input_space"] = self.input_space.to_dict()
        value["thresholds"] = {k: None if t is None else vars(t) for k, t in self.thresholds.items()}
        value["calibration"] = {k: vars(p) for k, p in self.calibration.items()}
        value["cam_scale"] = {k: vars(s) for k, s in self.cam_scale.items()}
        if self.golden_logits is None:
            # Versions from before there were golden images keep their identity.
            del value["golden_logits"]
        else:
            value["golden_logits"] = list(self.golden_logits)
        return value

    def canonical(self) -> bytes:
        """The byte string of this manifest from which identities are computed."""
        return json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"), allow_nan=False).encode()

    @cached_property
    def sha256(self) -> str:
        """Identity of the version: hash of the canonical manifest followed by the hash of the weights."""
        return hashlib.sha256(self.canonical() + self.weights_sha256.encode()).hexdigest()

    @classmethod
    def from_dict(cls, value: Any) -> "Manifest":
        """Validate and build. Unknown fields are refused, so that a misspelt setting is noticed.

        Raises:
            ArtifactInvalid: any field is missing, unknown or out of range.
        """
        if not isinstance(value, dict) or value.get("schema_version") != SCHEMA_VERSION:
            raise ArtifactInvalid("manifest-invalid", f"Expected schema_version {SCHEMA_VERSION}.")
        labels = value.get("labels")
        if not isinstance(labels, list) or not labels or labels != [label for label in LABELS if label in labels]:
            raise ArtifactInvalid("labels-mismatch", "Convert the model so that its outputs are in that order.")
        try:
            manifest = cls(
                **{
                    **value,
                    "labels": tuple(labels),
                    "grid": _grid(value["grid"]),
                    "input_space": InputSpace.from_dict(value["input_space"]),
                    "thresholds": {k: None if t is None else Threshold(**t) for k, t in value["thresholds"].items()},
                    "calibration": {k: Platt(**p) for k, p in value["calibration"].items()},
                    "cam_scale": {k: CamScale(**s) for k, s in value["cam_scale"].items()},
                    "golden_logits": _golden(value.get("golden_logits")),
                }
            )
            manifest._check()
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ArtifactInvalid("manifest-invalid", f"{type(error).__name__}: {error}") from error
        return manifest

    def _check(self) -> None:
        for name in ("thresholds", "calibration", "cam_scale"):
            if set(getattr(self, name)) != set(self.labels):
                raise ValueError(f"{name} must have an entry for each label")
        for threshold in self.thresholds.values():
            if threshold is not None and not 0.0 < threshold.value < 1.0:
                raise ValueError("an operating point must lie between 0 and 1")
        if not all(math.isfinite(p.a) and p.a > 0 and math.isfinite(p.b) for p in self.calibration.values()):
            raise ValueError("calibration needs a positive slope and a finite offset")
        if not all(math.isfinite(s.e0) and math.isfinite(s.s) and s.s >= 0 for s in self.cam_scale.values()):
            raise ValueError("cam_scale must be finite, s not negative")
        if self.golden_logits is not None and len(self.golden_logits) != len(self.labels):
            raise ValueError("golden_logits must have a value for each label")
        if len(self.weights_sha256) != 64 or not all(
            isinstance(v, str) and v for v in (self.name, self.architecture, self.card)
        ):
            raise ValueError("name, architecture, card and weights_sha256 are required")
        self.canonical()


def _grid(value: Any) -> tuple[int, int]:
    height, width = (int(v) for v in value)
    if not (1 <= height <= 128 and 1 <= width <= 128):
        raise ValueError("grid must be two numbers within 1..128")
    return height, width


def _golden(value: Any) -> tuple[float, ...] | None:
    return None if value is None else tuple(float(v) for v in value)


@dataclass(frozen=True, eq=False)
class Artifact:
    """A verified artifact: folder, manifest, head bias (L,), number of pooled features, feature check.

    The weights stay on disk.
    """

    path: Path
    manifest: Manifest
    bias: NDArray[np.float32]
    channels: int
    feature_check: FeatureCheck | None

    @property
    def sha256(self) -> str:
        """Identity of the version."""
        return self.manifest.sha256

    @property
    def weights_path(self) -> Path:
        """The safetensors file."""
        return self.path / WEIGHTS


def read_manifest(directory: Path) -> Manifest:
    """Read and validate only the manifest, which is fast enough for web pages and lists.

    Raises:
        ArtifactInvalid: the manifest is missing or invalid.
    """
    path = Path(directory) / MANIFEST
    if not path.is_file():
        raise ArtifactInvalid("missing-file", "Give the folder that save_artifact wrote.")
    with path.open("rb") as stream:
        raw = stream.read(MAX_MANIFEST_BYTES + 1)
    if len(raw) > MAX_MANIFEST_BYTES:
        raise ArtifactInvalid("manifest-invalid", "It is larger than 4 MiB.")
    try:
        return Manifest.from_dict(json.loads(raw))
    except (ValueError, RecursionError) as error:
        raise ArtifactInvalid("manifest-invalid", "It is not JSON.") from error


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
    return Artifact(directory, manifest, bias.astype(np.float32), channels, check)


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
    """The network's own tensors of a weights file, floats as float32, without those of the feature check."""
    tensors = _checked_tensors(path)
    return {
        k: v.astype(np.float32) if v.dtype.kind == "f" else v
        for k, v in tensors.items()
        if not k.startswith(_FEATURE_CHECK_PREFIX)
    }


def half_precision(tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Matrices and kernels as float16; vectors (biases, batch-norm statistics) stay float32 for their range."""
    return {k: v.astype(np.float16) if v.ndim > 1 and v.dtype == np.float32 else v for k, v in tensors.items()}


def save_artifact(
    directory: Path, manifest: Manifest, tensors: Mapping[str, NDArray[Any]], check: FeatureCheck | None = None
) -> Manifest:
    """Write an artifact folder, each file atomically, and verify it by loading it again.

    Args:
        directory: created where it is missing.
        manifest: without the hash of the weights and the scalars of the feature check, which are filled in.
        tensors: the network's, float32 or float16.
        check: the parameters of the feature check, if the version has one.

    Returns:
        The manifest as it was written.

    Raises:
        ArtifactInvalid: the written artifact does not load.
    """
    from safetensors.numpy import save

    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    arrays = {f"{_FEATURE_CHECK_PREFIX}{name}": value for name, value in check.tensors().items()} if check else {}
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

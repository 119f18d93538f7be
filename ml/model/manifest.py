"""The manifest of a model version: everything that serving, reports and auditors need, except the weights."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from ml.labels import LABELS
from ml.model.calibration import AbnormalScore, Platt
from ml.model.saliency import CamScale
from ml.model.transforms import InputSpace

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 4 << 20

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
    "held-out-invalid": "The held-out outputs are incomplete or of unequal shape.",
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


_LATER = ("golden_logits", "stages", "abnormal", "margins", "localisation")
"""Fields that older versions lack. Their manifests are written without them, so that they keep their identity."""


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
    stages: tuple[str, ...] | None = None
    """The modules of the feature extractor whose pooled maps the head reads, from fine to coarse; None for its last."""
    abnormal: AbnormalScore | None = None
    margins: Mapping[str, float] | None = None
    """By label: a call whose calibrated logit is nearer to that of the operating point than this is uncertain."""
    localisation: Mapping[str, Mapping[str, Any]] | None = None
    """By label: figures of its maps on boxes that were not fitted on, and "validated"."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        value = {f.name: getattr(self, f.name) for f in fields(self)}
        value["labels"] = list(self.labels)
        value["grid"] = list(self.grid)
        value["input_space"] = self.input_space.to_dict()
        value["thresholds"] = {k: None if t is None else vars(t) for k, t in self.thresholds.items()}
        value["calibration"] = {k: vars(p) for k, p in self.calibration.items()}
        value["cam_scale"] = {k: vars(s) for k, s in self.cam_scale.items()}
        value["golden_logits"] = None if self.golden_logits is None else list(self.golden_logits)
        value["stages"] = None if self.stages is None else list(self.stages)
        value["abnormal"] = None if self.abnormal is None else vars(self.abnormal)
        return {key: part for key, part in value.items() if key not in _LATER or part is not None}

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
                    "golden_logits": _floats(value.get("golden_logits")),
                    "stages": _stages(value.get("stages")),
                    "abnormal": AbnormalScore(**value["abnormal"]) if value.get("abnormal") else None,
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
        score, margins = self.abnormal, self.margins or {}
        if score and not (score.a > 0 and math.isfinite(score.a + score.b) and 0.0 < score.threshold < 1.0):
            raise ValueError("abnormal needs a positive slope, a finite offset and a threshold between 0 and 1")
        if not set(margins) <= set(self.labels) or not all(math.isfinite(m) and m >= 0 for m in margins.values()):
            raise ValueError("margins must be finite and not negative")
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


def _floats(value: Any) -> tuple[float, ...] | None:
    return None if value is None else tuple(float(v) for v in value)


def _stages(value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not value or not all(isinstance(stage, str) and stage for stage in value):
        raise ValueError("stages must be names of modules")
    return tuple(value)


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

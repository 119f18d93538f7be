"""The predictor: runs a model version on batches of images and gives logits, class activation maps and features.

On a CPU the graph runs in ONNX Runtime and torch is never imported; on a GPU it runs in torch
(`ml.model.torch_predictor`).
"""

import fcntl
import hashlib
import json
import os
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ml.model import golden_image
from ml.model.artifact import Artifact, load_artifact
from ml.model.calibration import calibrate
from ml.model.input_check import InputCheckResult, check_features
from ml.model.manifest import ArtifactInvalid, Manifest
from ml.model.saliency import as_float16

EXPORT_SECONDS = 300
"""The longest export of one network; an ensemble may take that long for each of its members."""
EXPORT_REVISION = 2


class PredictorUnavailable(RuntimeError):
    """The predictor cannot be made here; the message says what to do."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """logits (N, L) float32, cams (N, L, h, w) float16 in logit units, features (N, C) float32."""

    logits: NDArray[np.float32]
    cams: NDArray[np.float16]
    features: NDArray[np.float32]


class Predictor(ABC):
    """A loaded model version; safe to call from several threads."""

    def __init__(self, artifact: Artifact) -> None:
        self.artifact = artifact
        self.manifest = artifact.manifest

    @abstractmethod
    def _forward(self, batch: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[Any], NDArray[np.float32]]:
        """Run the network on at most `batch_size` images: uint8 (N, S, S), or normalised float32 (N, 3, S, S)."""

    batch_size: int = 64
    runs_on: str = "ONNX Runtime, CPU"

    def predict(self, batch: NDArray[np.uint8]) -> Prediction:
        """Run images uint8 (N, size, size), N >= 0, as `ml.model.transforms.to_square` makes them.

        Raises:
            ValueError: another shape or type.
            FloatingPointError: the network gave NaN or infinity.
        """
        size = self.manifest.input_space.size
        if batch.dtype != np.uint8 or batch.ndim != 3 or batch.shape[1:] != (size, size):
            raise ValueError(f"Expected uint8 (N, {size}, {size}), got {batch.dtype} {batch.shape}.")
        return self._predict(batch)

    def predict_images(self, images: NDArray[np.float32]) -> Prediction:
        """Run images float32 (N, 3, size, size), N >= 0, normalised as by `ml.model.transforms.normalise`.

        Raises:
            ValueError: another shape or type.
            FloatingPointError: the network gave NaN or infinity.
        """
        size = self.manifest.input_space.size
        if images.dtype != np.float32 or images.ndim != 4 or images.shape[1:] != (3, size, size):
            raise ValueError(f"Expected float32 (N, 3, {size}, {size}), got {images.dtype} {images.shape}.")
        return self._predict(images)

    def _predict(self, batch: NDArray[Any]) -> Prediction:
        if not len(batch):
            labels, (height, width) = len(self.manifest.labels), self.manifest.grid
            return Prediction(
                np.zeros((0, labels), np.float32),
                np.zeros((0, labels, height, width), np.float16),
                np.zeros((0, self.artifact.channels), np.float32),
            )
        parts = [self._forward(batch[i : i + self.batch_size]) for i in range(0, len(batch), self.batch_size)]
        logits, cams, features = (np.concatenate(part) for part in zip(*parts, strict=True))
        if not np.isfinite(logits).all():
            raise FloatingPointError("The network gave a non-finite logit; this version must not be served.")
        return Prediction(logits, as_float16(cams), features)

    def probabilities(self, prediction: Prediction) -> NDArray[np.float64]:
        """Calibrated probabilities (N, L) in [0, 1]."""
        return calibrate(prediction.logits, self.manifest.labels, self.manifest.calibration)

    def check_features(self, prediction: Prediction) -> list[InputCheckResult]:
        """The input check's result for each image, by the features that the network computed."""
        return check_features(prediction.features, self.artifact.feature_check)

    golden_tolerance: float = 1e-4

    def verify(self) -> None:
        """Run the golden image and compare the logits with those in the manifest.

        Raises:
            ArtifactInvalid: they differ, or are not finite.
        """
        try:
            self._replay(1)
        except FloatingPointError as error:
            raise ArtifactInvalid("golden-mismatch", str(error)) from error

    def warm_up(self) -> None:
        """Do the work of a first call (allocate, compile) before the first image. Raises as `verify`."""
        self.verify()

    def _replay(self, count: int) -> None:
        squares = np.repeat(golden_image.square(self.manifest.input_space.size)[None], count, axis=0)
        golden_image.check(self.manifest, self.predict(squares).logits[-1], self.golden_tolerance)


class OnnxPredictor(Predictor):
    """ONNX Runtime on the CPU, with `threads` threads that each run one image after the other.

    One image per core is faster than all cores on one image, where every layer waits for its slowest part.
    """

    def __init__(self, artifact: Artifact, cache_dir: Path, threads: int | None = None) -> None:
        super().__init__(artifact)
        self._cache_dir = cache_dir
        graphs = exported(artifact, cache_dir)
        try:
            self._squares = _session(graphs.squares)
        except Exception:
            # A full disk can damage a cached graph, so export the artifact again.
            graphs.squares.unlink(missing_ok=True)
            self._squares = _session(exported(artifact, cache_dir).squares)
        self._pool = ThreadPoolExecutor(threads or os.cpu_count() or 1, thread_name_prefix="onnx")

    @cached_property
    def _images(self) -> Any:
        """The session of the graph without normalisation, opened on first use because few processes need it."""
        graphs = exported(self.artifact, self._cache_dir)
        try:
            return _session(graphs.images)
        except Exception:
            graphs.squares.unlink(missing_ok=True)
            return _session(exported(self.artifact, self._cache_dir).images)

    def _forward(self, batch: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[Any], NDArray[np.float32]]:
        name, session = ("squares", self._squares) if batch.dtype == np.uint8 else ("images", self._images)
        images = np.split(np.ascontiguousarray(batch), len(batch))
        outputs = self._pool.map(lambda image: session.run(None, {name: image}), images)
        logits, cams, features = (np.concatenate(part) for part in zip(*outputs, strict=True))
        return logits, cams, features


def _session(path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


@dataclass(frozen=True)
class ExportedGraphs:
    """The ONNX files of one version: `squares` takes uint8 (N, S, S), `images` float32 (N, 3, S, S)."""

    squares: Path
    images: Path


def exported(artifact: Artifact, cache_dir: Path) -> ExportedGraphs:
    """The artifact's ONNX files in `cache_dir`; a child process exports them on first use.

    Versions with the same network share the files (`graph_key`). Each file is written atomically. Where several
    processes need the files at once, one of them exports and the others wait.

    Raises:
        PredictorUnavailable: the export failed.
    """
    stem = graph_key(artifact.manifest)
    graphs = ExportedGraphs(Path(cache_dir) / f"{stem}.onnx", Path(cache_dir) / f"{stem}-images.onnx")
    if not (graphs.squares.is_file() and graphs.images.is_file()):
        graphs.squares.parent.mkdir(parents=True, exist_ok=True)
        with _file_lock(graphs.squares.with_suffix(".lock")):
            if not (graphs.squares.is_file() and graphs.images.is_file()):
                _export(artifact, graphs)
    return graphs


def graph_key(manifest: Manifest) -> str:
    """The file name of an exported network: SHA-256 of everything its graph depends on, and the exporter's revision."""
    space = manifest.input_space
    parts = [manifest.weights_sha256, manifest.architecture, list(manifest.labels), space.size, space.mean, space.std]
    parts += [manifest.stages] if manifest.stages else []
    return f"{hashlib.sha256(json.dumps(parts).encode()).hexdigest()}-{EXPORT_REVISION}"


def remove_exported(manifest: Manifest, cache_dir: Path) -> None:
    """Remove a version's ONNX files from `cache_dir`, so that the next load exports them again."""
    for graph in Path(cache_dir).glob(f"{graph_key(manifest)}*.onnx"):
        graph.unlink(missing_ok=True)


@contextmanager
def _file_lock(lock: Path) -> Iterator[None]:
    """Hold an exclusive lock, which the system releases when the process ends."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _export(artifact: Artifact, graphs: ExportedGraphs) -> None:
    root = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))}
    paths = (str(path.resolve()) for path in (artifact.path, graphs.squares, graphs.images))
    command = [sys.executable, "-m", "ml.model.onnx_export", *paths]
    seconds = EXPORT_SECONDS * max(1, artifact.manifest.architecture.count("@"))
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=seconds, env=environment)
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip().splitlines() or ["no message"])[-1]
        raise PredictorUnavailable(f"Exporting {artifact.manifest.name} to ONNX failed: {last}") from error
    except subprocess.TimeoutExpired as error:
        raise PredictorUnavailable(f"Exporting {artifact.manifest.name} to ONNX took over {seconds} s.") from error


def load_predictor(
    artifact_dir: Path,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    cache_dir: Path | None = None,
    threads: int | None = None,
) -> Predictor:
    """Verify and load a version.

    Args:
        artifact_dir: folder of the artifact.
        device: "auto" uses a GPU where torch finds one.
        cache_dir: folder for exported graphs; by default the user's cache folder.
        threads: number of CPU threads; by default one per core.

    Raises:
        ArtifactInvalid: the artifact is damaged.
        PredictorUnavailable: the device is missing, or the export failed.
    """
    artifact = load_artifact(Path(artifact_dir))
    if device == "cuda" or (device == "auto" and Path("/dev/nvidiactl").exists()):
        import torch

        if torch.cuda.is_available():
            from ml.model.torch_predictor import TorchPredictor

            return TorchPredictor(artifact, "cuda")
        if device == "cuda":
            raise PredictorUnavailable("torch finds no CUDA device: use device=cpu, or check the driver.")
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "checxray"
    return OnnxPredictor(artifact, cache_dir or default, threads)

"""Reads images synchronously, for ``/predict`` and the command line, and stores nothing."""

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from django.utils import timezone
from numpy.typing import NDArray

from apps.core.errors import UnavailableError
from apps.inference.rendering import overlay_uri
from apps.registry import engine
from apps.studies.attributes import parse_date

# Refusals of technical causes: the image could not be read at all.
_UNREADABLE = {"file-unreadable", "inference-error"}


@dataclass
class DirectReading:
    """One image and its reading so far; ``gate`` is the latest result of the input check.

    Attributes:
        name: the caller's name for it, or None.
        path: the file; None for an image that the caller preprocessed.
        was_checked: whether the input check decided; False where the image could not be read.
        rows, columns: the size of the displayed image, for the heatmaps.
        warnings: what a reader should know about the image or its patient.
    """

    name: str | None
    path: Path | None = None
    gate: engine.InputCheckResult = field(default_factory=lambda: engine.InputCheckResult(True))
    was_checked: bool = False
    rows: int = 0
    columns: int = 0
    decoding: "Future[engine.LoadedInput] | None" = None
    square: NDArray[np.uint8] | None = None
    probabilities: NDArray[np.float64] | None = None
    cams: NDArray[np.float16] | None = None
    warnings: list[engine.ImageWarning] = field(default_factory=list)

    def refuse(self, code: str, detail: str) -> None:
        self.gate = engine.InputCheckResult(False, code, detail)

    @property
    def is_technical_failure(self) -> bool:
        """Whether it was refused for a technical cause, and not because of the image."""
        return self.gate.reason in _UNREADABLE | engine.RETRYABLE


def read_files(
    films: Sequence[DirectReading],
    predictor: "engine.Predictor",
    sandbox: "engine.Sandbox",
    *,
    batch: int,
    deadline: float | None = None,
) -> Iterator[DirectReading]:
    """Read files in their order. The next batch is decoded while the network computes one.

    Args:
        batch: the number of images that the network computes at once.
        deadline: on the clock of ``time.monotonic``.

    Raises:
        UnavailableError: the deadline passed.
    """
    decoding: Sequence[DirectReading] = []
    try:
        for first in range(0, len(films), batch):
            started = films[first : first + batch]
            for film in started:
                _start(film, predictor.manifest, sandbox)
            yield from _finish(decoding, predictor, deadline)
            decoding = started
        yield from _finish(decoding, predictor, deadline)
    finally:
        for film in films:
            if film.decoding is not None:
                film.decoding.cancel()


def _start(film: DirectReading, manifest: "engine.Manifest", sandbox: "engine.Sandbox") -> None:
    assert film.path is not None
    try:
        found = engine.inspect(film.path)
    except engine.InputRejected as error:
        film.refuse(error.code, error.detail)
        return
    except OSError as error:
        film.refuse("file-unreadable", f"The file cannot be read: {error.strerror}.")
        return
    # A PNG or JPEG has no DICOM attributes to check; only its features in the network are checked.
    tags = dict(found.attributes) if found.kind == "dicom" else {}
    film.gate = engine.check_attributes(tags, found.sop_class_uid, found.rows, found.columns, found.unreadable)
    film.was_checked = not film.gate.accepted
    film.warnings = [*found.warnings, *_age_warnings(tags, manifest)]
    if film.gate.accepted:
        film.decoding = sandbox.submit(
            engine.load_input, film.path, manifest.input_space.to_dict(), [found.rows, found.columns]
        )


def _age_warnings(tags: Mapping[str, str], manifest: "engine.Manifest") -> list[engine.ImageWarning]:
    on = parse_date(tags.get("StudyDate", "")) or timezone.now().date()
    born = parse_date(tags.get("PatientBirthDate", ""))
    odd = engine.age_warning(manifest.data, born, on, tags.get("PatientAge", ""))
    return [odd] if odd else []


def _finish(
    films: Sequence[DirectReading], predictor: "engine.Predictor", deadline: float | None
) -> Iterator[DirectReading]:
    for film in films:
        if film.decoding is not None:
            _take(film, film.decoding, deadline)
    decoded = [film for film in films if film.square is not None]
    if decoded:
        squares = np.stack([film.square for film in decoded if film.square is not None])
        _predict(decoded, squares, predictor)
    yield from films


def _take(film: DirectReading, decoding: "Future[engine.LoadedInput]", deadline: float | None) -> None:
    try:
        loaded = decoding.result(None if deadline is None else max(0.0, deadline - time.monotonic()))
    except engine.InputRejected as error:
        film.refuse(error.code, error.detail)
    except FutureTimeoutError as error:
        raise UnavailableError(
            "The images were not read in time and nothing was stored: send fewer at once, or try again.",
            "predict-timeout",
        ) from error
    else:
        film.square, film.rows, film.columns = loaded.tensor_u8, loaded.rows, loaded.columns
        film.warnings = [*loaded.warnings, *film.warnings]


def read_images(images: NDArray[np.float32], predictor: "engine.Predictor") -> list[DirectReading]:
    """Read images that the caller preprocessed: float32 (N, 3, S, S) in the version's input space."""
    size = predictor.manifest.input_space.size
    readings = [DirectReading(None, rows=size, columns=size) for _ in images]
    _predict(readings, images, predictor)
    return readings


def _predict(readings: Sequence[DirectReading], batch: NDArray[Any], predictor: "engine.Predictor") -> None:
    try:
        prediction = predictor.predict(batch) if batch.dtype == np.uint8 else predictor.predict_images(batch)
    except FloatingPointError as error:
        if len(readings) == 1:
            readings[0].refuse("inference-error", str(error))
            return
        # One image must not fail the others of its batch.
        for index, reading in enumerate(readings):
            _predict([reading], batch[index : index + 1], predictor)
        return
    probabilities = predictor.probabilities(prediction)
    for index, (reading, gate) in enumerate(zip(readings, predictor.check_features(prediction), strict=True)):
        reading.gate, reading.was_checked, reading.square = gate, True, None
        if gate.accepted:
            reading.probabilities, reading.cams = probabilities[index], prediction.cams[index]


def prediction_json(
    reading: DirectReading,
    *,
    model_version: str,
    predictor: "engine.Predictor",
    thresholds: Mapping[str, float | None],
    heatmaps: bool = False,
) -> dict[str, Any]:
    """The JSON of one image in the public contract: a refused image has a reason and no findings.

    Args:
        thresholds: the operating point of each finding (``deployment.selectors.thresholds_for``); None where missing.
    """
    findings = []
    if reading.probabilities is not None:
        for index, label in enumerate(predictor.manifest.labels):
            finding = _finding(label, float(reading.probabilities[index]), thresholds[label])
            if heatmaps:
                finding["heatmap"] = _heatmap(reading, index, finding, predictor.manifest)
            findings.append(finding)
    return {
        "file": reading.name,
        "model_version": model_version,
        "gate": {
            "accepted": reading.gate.accepted,
            "reason": reading.gate.reason,
            "detail": reading.gate.detail,
        },
        "warnings": [{"code": each.code, "detail": each.detail} for each in dict.fromkeys(reading.warnings)],
        "findings": sorted(findings, key=lambda finding: -float(finding["probability"])),
    }


def _finding(label: str, probability: float, threshold: float | None) -> dict[str, Any]:
    positive = threshold is not None and probability >= threshold
    return {"label": label, "probability": probability, "threshold": threshold, "positive": positive}


def _heatmap(reading: DirectReading, index: int, finding: dict[str, Any], manifest: "engine.Manifest") -> str | None:
    assert reading.cams is not None
    alpha = engine.opacity(finding["probability"], finding["threshold"])
    if not alpha:
        return None
    geometry = engine.Geometry.of(reading.rows, reading.columns, manifest.input_space)
    return overlay_uri(reading.cams[index], manifest.cam_scale[finding["label"]], alpha, geometry)

"""Reads files that a caller sent or named, for ``/predict`` and the command line, and makes the contract's JSON."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.utils import timezone

from apps.deployment.models import Recalibration
from apps.deployment.stops import AI_STOPPED, NO_STOPS, Stops
from apps.inference.calls import abnormal_call, abnormal_json, calls, localisation_text, recalibrated
from apps.inference.reader import ImageReader, ImageReading
from apps.inference.rendering import overlay_uri
from apps.registry import engine
from apps.registry.models import ModelVersion
from apps.studies.attributes import parse_date


@dataclass(frozen=True)
class ImageFile:
    """A file, and the caller's name for it."""

    name: str | None
    path: Path


def read_files(
    files: Iterable[ImageFile],
    predictor: "engine.Predictor",
    reader: ImageReader,
    *,
    batch: int,
    deadline: float | None = None,
) -> Iterator[ImageReading]:
    """Read files in their order. Arguments and errors are those of `ImageReader.read`."""
    inspected = (inspect_file(file, predictor.manifest) for file in files)
    return reader.read(inspected, predictor, batch=batch, deadline=deadline)


def inspect_file(file: ImageFile, manifest: "engine.Manifest") -> ImageReading:
    """Begin the reading of a file with the check of its attributes, without decoding it."""
    reading = ImageReading(name=file.name, path=file.path)
    try:
        found = engine.inspect(file.path)
    except engine.InputRejected as error:
        reading.reject(error)
    except OSError as error:
        reading.fail("file-unreadable", f"The file cannot be read: {error.strerror}.")
    else:
        # A PNG or JPEG has no DICOM attributes to check; only its features in the network are checked.
        attributes = dict(found.attributes) if found.kind == "dicom" else {}
        result = engine.check_attributes(attributes, found.sop_class_uid, found.rows, found.columns, found.unreadable)
        if not result.accepted:
            reading.apply_check(result)
        reading.stored_size = (found.rows, found.columns)
        reading.warnings = (*found.warnings, *_age_warnings(attributes, manifest))
    return reading


def _age_warnings(attributes: Mapping[str, str], manifest: "engine.Manifest") -> list[engine.ImageWarning]:
    on = parse_date(attributes.get("StudyDate", "")) or timezone.now().date()
    born = parse_date(attributes.get("PatientBirthDate", ""))
    odd = engine.age_warning(manifest.data, born, on, attributes.get("PatientAge", ""))
    return [odd] if odd else []


def prediction_json(
    reading: ImageReading,
    *,
    version: ModelVersion,
    predictor: "engine.Predictor",
    thresholds: Mapping[str, float | None],
    heatmaps: bool = False,
    recalibration: Recalibration | None = None,
    stops: Stops = NO_STOPS,
) -> dict[str, Any]:
    """The JSON of one image in the public contract: a refused image has a reason and no findings.

    Args:
        thresholds: the operating point of each finding (``deployment.selectors.thresholds_for``); None where missing.
        recalibration: the tenant's, which moves probabilities and thresholds alike after the findings were flagged.
        stops: the tenant's stops; a finding that is stopped is left out, with a warning.
    """
    findings = []
    called = recalibrated(calls(reading.probabilities, thresholds, version.margins, reading.varied), recalibration)
    for index, call in enumerate(called):
        if call.label in stops.labels:
            continue
        finding = {**vars(call), "localisation": localisation_text(call.label in version.localised)}
        if heatmaps:
            finding["heatmap"] = _heatmap(reading, index, finding, predictor.manifest)
        findings.append(finding)
    checked = reading.input_check
    warnings = [*reading.warnings, *([engine.ImageWarning(AI_STOPPED, stops.detail)] if stops.labels else [])]
    return {
        "file": reading.name,
        "model_version": str(version),
        "gate": {"accepted": checked.accepted, "reason": checked.reason, "detail": checked.detail},
        "warnings": [{"code": each.code, "detail": each.detail} for each in dict.fromkeys(warnings)],
        "abnormal": abnormal_json(abnormal_call(stops.leave_out(reading.probabilities), version.abnormal_score)),
        "findings": sorted(findings, key=lambda finding: -float(finding["probability"])),
    }


def _heatmap(reading: ImageReading, index: int, finding: dict[str, Any], manifest: "engine.Manifest") -> str | None:
    assert reading.cams is not None
    alpha = engine.opacity(finding["probability"], finding["threshold"])
    if not alpha:
        return None
    geometry = engine.Geometry.of(reading.rows, reading.columns, manifest.input_space)
    cam = reading.cams[index]
    inside = None if reading.thorax is None else engine.share_inside(reading.thorax, cam.shape)
    return overlay_uri(cam, manifest.cam_scale[finding["label"]], alpha, geometry, inside)

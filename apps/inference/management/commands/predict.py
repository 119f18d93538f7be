"""Read films on the command line; nothing is stored."""

import json
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from tqdm import tqdm

from apps.core.errors import ChecxrayError
from apps.registry import engine
from apps.registry.models import ModelVersion
from apps.registry.selectors import version_in_service
from apps.registry.services import fetch_artifact, find_version

# Refusals that accuse the machine or the caller and not the film.
_NOT_HANDLED = {"file-unreadable", "inference-error"} | engine.RETRYABLE


@dataclass
class _Film:
    """One file on its way; ``gate`` is the last word so far."""

    path: Path
    gate: engine.GateResult = field(default_factory=lambda: engine.GateResult(True))
    decoding: "Future[engine.LoadedInput] | None" = None
    square: Any = None
    probabilities: Any = None


class Command(BaseCommand):
    help = "Findings of DICOM, PNG or JPEG films, printed and stored nowhere. A folder stands for all files in it."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
        parser.add_argument("--version", metavar="name:number", dest="reference", help="default: the one in service")
        parser.add_argument("--json", action="store_true", help="print one JSON list instead of tables")

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        # Django's own --version would take the name that the contract gives to the model's.
        return super().create_parser(prog_name, subcommand, conflict_handler="resolve", **kwargs)

    def handle(self, *args: Any, **options: Any) -> None:
        paths = list(_expanded(options["files"]))
        if not paths:
            raise CommandError("There is no file in the folders that were given.")
        version, predictor = _load(options["reference"])
        entries, unhandled = [], 0
        with engine.Sandbox(workers=settings.DECODER_PROCESSES) as sandbox:
            films = _read(paths, predictor, sandbox)
            for film in tqdm(films, total=len(paths), unit="film", disable=None, leave=False):
                entry = _entry(film, version, predictor)
                if film.gate.reason in _NOT_HANDLED:
                    unhandled += 1
                    tqdm.write(f"{film.path}: {film.gate.detail}", file=self.stderr)
                if options["json"]:
                    entries.append(entry)
                else:
                    tqdm.write(_table(entry), file=self.stdout)
        if options["json"]:
            self.stdout.write(json.dumps(entries, indent=2))
        if unhandled:
            raise CommandError(f"{unhandled} of {len(paths)} files could not be read.")


def _expanded(given: Iterable[Path]) -> Iterator[Path]:
    for path in given:
        if path.is_dir():
            yield from (
                each
                for each in sorted(path.rglob("*"))
                if each.is_file() and not each.name.startswith(".") and each.name.upper() != "DICOMDIR"
            )
        else:
            yield path


def _load(reference: str | None) -> tuple[ModelVersion, engine.Predictor]:
    try:
        version = find_version(reference) if reference else version_in_service()
        predictor = engine.load_predictor(
            fetch_artifact(version),
            device=settings.INFERENCE_DEVICE,  # type: ignore[arg-type]
            cache_dir=settings.MODEL_CACHE_DIR / "compiled",
        )
    except ChecxrayError as error:
        raise CommandError(error.detail) from error
    except (engine.ArtifactInvalid, engine.PredictorUnavailable, OSError) as error:
        raise CommandError(f"The model version cannot be loaded: {error}") from error
    return version, predictor


def _read(paths: list[Path], predictor: engine.Predictor, sandbox: engine.Sandbox) -> Iterator[_Film]:
    """The films in their order. While one batch is in the network the next is being decoded."""
    space = predictor.manifest.input_space.to_dict()
    size = settings.INFERENCE_BATCH_SIZE
    under_way: list[_Film] = []
    for first in range(0, len(paths), size):
        started = [_start(path, space, sandbox) for path in paths[first : first + size]]
        yield from _finish(under_way, predictor)
        under_way = started
    yield from _finish(under_way, predictor)


def _start(path: Path, space: dict[str, Any], sandbox: engine.Sandbox) -> _Film:
    film = _Film(path)
    try:
        found = engine.inspect(path)
    except engine.InputRejected as error:
        film.gate = engine.GateResult(False, error.code, error.detail)
        return film
    except OSError as error:
        film.gate = engine.GateResult(False, "file-unreadable", f"The file cannot be read: {error.strerror}.")
        return film
    # A picture has no tags that could refuse it; the network's own features judge it.
    film.gate = engine.tag_gate(_judged_tags(found), found.sop_class_uid, found.rows, found.columns)
    if film.gate.accepted:
        film.decoding = sandbox.submit(engine.load_input, str(path), space)
    return film


def _judged_tags(found: engine.Preflight) -> dict[str, str]:
    return dict(found.attributes) if found.kind == "dicom" else {}


def _finish(films: list[_Film], predictor: engine.Predictor) -> Iterator[_Film]:
    for film in films:
        if film.decoding is not None:
            try:
                film.square = film.decoding.result().tensor_u8
            except engine.InputRejected as error:
                film.gate = engine.GateResult(False, error.code, error.detail)
    decoded = [film for film in films if film.square is not None]
    if decoded:
        _predict(decoded, predictor)
    yield from films


def _predict(films: list[_Film], predictor: engine.Predictor) -> None:
    try:
        prediction = predictor.predict(np.stack([film.square for film in films]))
    except FloatingPointError as error:
        for film in films:
            film.gate = engine.GateResult(False, "inference-error", str(error))
        return
    probabilities = predictor.probabilities(prediction)
    for film, gate, values in zip(films, predictor.gate(prediction), probabilities, strict=True):
        film.gate, film.square = gate, None
        film.probabilities = values if gate.accepted else None


def _entry(film: _Film, version: ModelVersion, predictor: engine.Predictor) -> dict[str, Any]:
    """The contract's JSON of one file: a refused film has a reason and no score."""
    findings = []
    if film.probabilities is not None:
        for label, value in zip(predictor.manifest.labels, film.probabilities, strict=True):
            point = predictor.manifest.thresholds[label]
            threshold = point.value if point else None
            positive = threshold is not None and float(value) >= threshold
            findings.append({"label": label, "probability": float(value), "threshold": threshold, "positive": positive})
    return {
        "file": str(film.path),
        "model_version": str(version),
        "gate": {"accepted": film.gate.accepted, "reason": film.gate.reason, "detail": film.gate.detail},
        "findings": sorted(findings, key=lambda finding: -float(finding["probability"] or 0)),
    }


def _table(entry: dict[str, Any]) -> str:
    lines = [f"{entry['file']}  ({entry['model_version']})"]
    if not entry["gate"]["accepted"]:
        lines.append(f"  not read: {entry['gate']['reason']}. {entry['gate']['detail']}")
    for finding in entry["findings"]:
        point = "no operating point" if finding["threshold"] is None else f"from {finding['threshold']:.3f}"
        mark = "POSITIVE" if finding["positive"] else ""
        lines.append(f"  {finding['label']:<20}{finding['probability']:6.3f}  {point:<20}{mark}".rstrip())
    return "\n".join([*lines, f"  {settings.INTENDED_USE_NOTICE}", ""])

"""Read image files on the command line; nothing is stored."""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from tqdm import tqdm

from apps.core.errors import ChecxrayError
from apps.deployment.selectors import require_platform_version
from apps.inference.loading import load_version
from apps.inference.prediction import ImageFile, prediction_json, read_files
from apps.inference.reader import DeviceFailedError, ImageReader, ImageReading
from apps.registry import engine
from apps.registry.models import ModelVersion
from apps.registry.services import find_version


class Command(BaseCommand):
    help = "Findings of DICOM, PNG or JPEG films, printed and stored nowhere. A folder stands for all files in it."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
        parser.add_argument("--version", metavar="name:number", dest="reference", help="default: the one in service")
        parser.add_argument("--json", action="store_true", help="print one JSON list instead of tables")

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        # Django's own option --version would conflict with the contract's.
        return super().create_parser(prog_name, subcommand, conflict_handler="resolve", **kwargs)

    def handle(self, *args: Any, **options: Any) -> None:
        paths = list(_expanded(options["files"]))
        if not paths:
            raise CommandError("There is no file in the folders that were given.")
        version, predictor = _load(options["reference"])
        thresholds = {label: point["value"] if point else None for label, point in version.thresholds.items()}
        files = [ImageFile(str(path), path) for path in paths]
        entries, unhandled = [], 0
        try:
            for reading in _read(files, predictor):
                entry = prediction_json(reading, version=version, predictor=predictor, thresholds=thresholds)
                if reading.failure is not None:
                    unhandled += 1
                    tqdm.write(f"{reading.name}: {reading.failure.detail}", file=self.stderr)
                if options["json"]:
                    entries.append(entry)
                else:
                    tqdm.write(_table(entry), file=self.stdout)
        except DeviceFailedError as error:
            raise CommandError(error.detail) from error
        if options["json"]:
            self.stdout.write(json.dumps(entries, indent=2))
        if unhandled:
            raise CommandError(f"{unhandled} of {len(paths)} files could not be read.")


def _read(files: Sequence[ImageFile], predictor: engine.Predictor) -> Iterator[ImageReading]:
    with closing(ImageReader(engine.Sandbox(workers=settings.DECODER_PROCESSES))) as reader:
        readings = read_files(files, predictor, reader, batch=settings.INFERENCE_BATCH_SIZE)
        yield from tqdm(readings, total=len(files), unit="film", disable=None, leave=False)


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
        version = find_version(reference) if reference else require_platform_version()
        predictor = load_version(version, device=settings.INFERENCE_DEVICE)
    except ChecxrayError as error:
        raise CommandError(error.detail) from error
    except (engine.ArtifactInvalid, engine.PredictorUnavailable, OSError) as error:
        raise CommandError(f"The model version cannot be loaded: {error}") from error
    return version, predictor


def _table(entry: dict[str, Any]) -> str:
    lines = [f"{entry['file']}  ({entry['model_version']})"]
    if not entry["gate"]["accepted"]:
        lines.append(f"  not read: {entry['gate']['reason']}. {entry['gate']['detail']}")
    lines += [f"  note: {warning['detail']}" for warning in entry["warnings"]]
    for finding in entry["findings"]:
        point = "no operating point" if finding["threshold"] is None else f"from {finding['threshold']:.3f}"
        marks = ["POSITIVE"] * finding["positive"] + ["uncertain"] * finding["uncertain"]
        lines.append(f"  {finding['label']:<20}{finding['probability']:6.3f}  {point:<20}{' '.join(marks)}".rstrip())
    if entry["abnormal"]:
        mark = "POSITIVE" if entry["abnormal"]["positive"] else ""
        point = f"from {entry['abnormal']['threshold']:.3f}"
        lines.append(f"  {'Any finding':<20}{entry['abnormal']['probability']:6.3f}  {point:<20}{mark}".rstrip())
    return "\n".join([*lines, f"  {settings.INTENDED_USE_NOTICE}", ""])

"""Import a model file of another project, and register it as a candidate."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from apps.core.errors import ChecxrayError
from apps.registry import engine
from apps.registry.management.output import describe_registered
from apps.registry.services import import_artifact

_CONVERTED_ONLY = (
    "arch", "labels", "weights", "size", "mean", "std", "fit", "resize", "drop", "source", "license", "calibrate",
)  # fmt: skip


class Command(BaseCommand):
    help = (
        "Import a model file and register it as a candidate; activate_model puts it into service. Files are read by "
        "a restricted reader in a limited process: nothing in them is executed."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path, help="the file; with --format bundle also a folder, .zip or .tar")
        parser.add_argument("--format", required=True, choices=engine.IMPORT_FORMATS)
        parser.add_argument("--name", required=True, help="the version's name, such as xrv-all")
        parser.add_argument("--arch", help="of torchvision or timm; recognised by default")
        parser.add_argument("--labels", type=_names, help="the outputs' names in order, with commas; '' skips one")
        parser.add_argument("--weights", metavar="RELEASE", help="TorchXRayVision's, such as densenet121-res224-nih")
        parser.add_argument("--size", type=int, help="side of the network's input in pixels")
        parser.add_argument("--mean", type=_numbers, help="one or three values on the scale 0..1, with commas")
        parser.add_argument("--std", type=_numbers, help="one or three values on the scale 0..1, with commas")
        parser.add_argument("--fit", choices=engine.FITS, help="how a film becomes a square")
        parser.add_argument("--resize", choices=engine.RESIZES, help="how a film is made smaller")
        parser.add_argument("--drop", type=_names, metavar="PREFIXES", help="tensors to leave out, by their beginnings")
        parser.add_argument("--source", help="where the weights come from, for the card")
        parser.add_argument("--license", help="under what licence, for the card")
        parser.add_argument(
            "--calibrate", type=Path, metavar="DIR", help="films to fit on, in a layout of docs/data.md"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        given = {name: options[name] for name in _CONVERTED_ONLY if options[name] is not None}
        if options["format"] == "bundle" and given:
            raise CommandError(f"A bundle is imported unchanged: leave out --{', --'.join(given)}.")
        names = {"arch": "architecture", "weights": "release", "license": "licence"}
        import_options = engine.ImportOptions(
            format=options["format"], name=options["name"], **{names.get(k, k): v for k, v in given.items()}
        )
        since = timezone.now()
        try:
            version, imported = import_artifact(file=options["file"], options=import_options)
        except ChecxrayError as error:
            raise CommandError(error.detail) from error
        self._print(imported)
        self.stdout.write(describe_registered(version, since))

    def _print(self, imported: engine.Imported) -> None:
        manifest, write = imported.manifest, self.stdout.write
        space = manifest.input_space
        write(f"{manifest.architecture}, {space.size} x {space.size} pixels, {space.fit}, {space.resize}")
        if imported.mapped:
            write(f"Mapped: {imported.mapped} tensors, {len(manifest.labels)} findings")
        for label in manifest.labels:
            point = manifest.thresholds[label]
            write(f"  {label:<20}" + (f"{point.value:.4f}  {point.strategy}" if point else "no operating point"))
        absent = [label for label in engine.LABELS if label not in manifest.labels]
        if absent:
            write(f"Not trained, so never reported: {', '.join(absent)}")
        for line in imported.dropped:
            write(f"Left out: {line}")
        for note in imported.notes:
            write(f"Note: {note}")


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(","))


def _numbers(text: str) -> Sequence[float]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not one or three numbers, such as 0.485,0.456,0.406") from None

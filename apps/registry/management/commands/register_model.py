"""Register an artifact folder as the next version of its name."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from apps.core.errors import ChecxrayError
from apps.registry.management.output import describe_registered
from apps.registry.services import register


class Command(BaseCommand):
    help = "Verify an artifact folder (manifest.json and model.safetensors) and register it as a model version."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("artifact", type=Path, help="the artifact's folder")
        parser.add_argument("--name", help="the version's name; the manifest's own by default")

    def handle(self, *args: Any, **options: Any) -> None:
        since = timezone.now()
        try:
            version = register(artifact_dir=options["artifact"], name=options["name"])
        except ChecxrayError as error:
            raise CommandError(error.detail) from error
        self.stdout.write(describe_registered(version, since))

"""Evaluate a version on a list of films with known findings."""

import json
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import ProgrammingError

from apps.audit.services import command_actor
from apps.core.errors import ChecxrayError
from apps.deployment.selectors import require_platform_version
from apps.evaluation.execution import evaluation_json, run_evaluation
from apps.registry import engine
from apps.registry.services import find_version


class Command(BaseCommand):
    help = (
        "Evaluate a registered version on a list of films (by default the folder's test_list.txt), keep the figures, "
        "and print them beside the published ones."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--data", type=Path, required=True, help="folder in a layout of docs/data.md")
        parser.add_argument("--split", type=Path, metavar="FILE", help="list of film names; default: test_list.txt")
        parser.add_argument("--version", metavar="name:number", dest="reference", help="default: the one in service")
        parser.add_argument("--json", type=Path, metavar="OUT", help="also write the figures to this file")

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        # Django's own --version would take the name that the contract gives to the model's.
        return super().create_parser(prog_name, subcommand, conflict_handler="resolve", **kwargs)

    def handle(self, *args: Any, **options: Any) -> None:
        out: Path | None = options["json"]
        if out is not None and not out.parent.is_dir():
            raise CommandError(f"There is no folder {out.parent} for {out.name}: make it first.")
        if out is not None and out.is_dir():
            raise CommandError(f"{out} is a folder: give the name of a file in it.")
        try:
            version = find_version(options["reference"]) if options["reference"] else require_platform_version()
            evaluation = run_evaluation(
                version=version, data=options["data"], split=options["split"], by=command_actor()
            )
        except ChecxrayError as error:
            raise CommandError(error.detail) from error
        except ProgrammingError as error:
            raise CommandError("The database lacks tables of this release: run `manage.py migrate` first.") from error
        if out is not None:
            try:
                out.write_text(json.dumps(evaluation_json(evaluation), indent=2, allow_nan=False) + "\n")
            except OSError as error:
                raise CommandError(
                    f"{out} cannot be written ({error.strerror}); the figures are kept in the admin."
                ) from error
        self.stdout.write(f"{version}\n")
        self.stdout.write(engine.report_text(evaluation.report))
        self.stdout.write(f"\n{engine.table2([evaluation.report]).text()}\n")
        self.stdout.write(settings.INTENDED_USE_NOTICE)

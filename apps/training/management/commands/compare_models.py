"""Compare several architectures or versions on the same films, in the form of the paper's Table 2."""

import json
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import ProgrammingError

from apps.audit.services import command_actor
from apps.core.errors import ChecxrayError, InvalidInputError
from apps.evaluation.execution import run_comparison
from apps.registry import engine
from apps.registry.models import ModelVersion
from apps.registry.services import find_version
from apps.training.services import run_training, stopped_by_sigterm


class Command(BaseCommand):
    help = (
        "Compare versions on one list of films: trains several --arch on the same films and seed (each becomes a "
        "candidate), or takes several --version. Differences are from the first one."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        engine.add_training_arguments(parser)
        parser.set_defaults(arch=None)
        # Replaces the option of the same name: argparse uses the later definition.
        parser.add_argument("--arch", action="append", help="an architecture to train; again for each")
        parser.add_argument("--version", metavar="name:number", dest="references", action="append", default=[])
        parser.add_argument(
            "--test-list", type=Path, metavar="FILE", help="films to compare on; default: test_list.txt"
        )
        parser.add_argument("--json", type=Path, metavar="OUT", help="also write the figures to this file")

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        # Django's own --version would take the name that the contract gives to the model's.
        return super().create_parser(prog_name, subcommand, conflict_handler="resolve", **kwargs)

    def handle(self, *args: Any, **options: Any) -> None:
        architectures: list[str] = options["arch"] or []
        try:
            if len(architectures) + len(options["references"]) < 2:
                raise InvalidInputError("Give two or more: --arch A --arch B, or --version name:1 --version name:2.")
            engine.check_architectures(architectures)
            versions = [find_version(reference) for reference in options["references"]]
            versions += [self._trained(architecture, options) for architecture in architectures]
            found = run_comparison(versions=versions, data=options["data"], split=options["test_list"])
        except (ChecxrayError, ValueError, OSError) as error:
            raise CommandError(str(error)) from error
        except ProgrammingError as error:
            raise CommandError("The database lacks tables of this release: run `manage.py migrate` first.") from error
        self.stdout.write(engine.table2(found["rows"]).text())
        self.stdout.write("\nNot run:\n" + "\n".join(f"- {line}" for line in found["not_run"]))
        self.stdout.write(settings.INTENDED_USE_NOTICE)
        if options["json"] is not None:
            _write(options["json"], found)

    def _trained(self, architecture: str, options: dict[str, Any]) -> ModelVersion:
        arguments = Namespace(**{**options, "arch": architecture})
        config, nodes = engine.training_of_arguments(arguments, Path())
        with stopped_by_sigterm():
            run = run_training(config=config, nodes=nodes, out=None, by=command_actor(), terminal=sys.stderr)
        if run is None or run.model_version is None:
            raise InvalidInputError("A comparison needs the chief on this machine: run it on the rendezvous host.")
        self.stderr.write(f"{architecture}: {run.model_version}")
        return run.model_version


def _write(path: Path, found: dict[str, Any]) -> None:
    try:
        path.write_text(json.dumps(found, indent=2, allow_nan=False) + "\n")
    except OSError as error:
        raise CommandError(f"{path} cannot be written ({error.strerror}).") from error

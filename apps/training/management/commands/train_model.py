"""Train a network on one or many machines, and register the result as a candidate."""

import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import ProgrammingError

from apps.audit.services import command_actor
from apps.core.errors import ChecxrayError
from apps.registry import engine
from apps.registry.management.output import describe_next_steps
from apps.training.services import run_training, stopped_by_sigterm


class Command(BaseCommand):
    help = (
        "Train on a folder in one of the layouts of docs/data.md, on one machine or many, and register the result as a "
        "candidate. The same command again continues after the last complete checkpoint."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        engine.add_training_arguments(parser)
        parser.add_argument("--out", type=Path, help="the run's folder; by default one of its own under CHECXRAY_HOME")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            config, nodes = engine.training_of_arguments(Namespace(**options), options["out"] or Path())
            with stopped_by_sigterm():
                run = run_training(
                    config=config,
                    nodes=nodes,
                    out=options["out"],
                    by=command_actor(),
                    terminal=sys.stderr,
                )
        except (ChecxrayError, ValueError) as error:
            raise CommandError(str(error)) from error
        except ProgrammingError as error:
            raise CommandError("The database lacks tables of this release: run `manage.py migrate` first.") from error
        if run is None:
            self.stdout.write("Training is complete on this node. The chief's node registers the version.")
            return
        assert run.model_version is not None
        self.stdout.write(f"Registered {run.model_version} as candidate.\n{describe_next_steps(run.model_version)}")

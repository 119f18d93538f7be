"""List, add, disable and enable evaluation sets: the films on which every new version is evaluated."""

from pathlib import Path
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.validators import validate_slug

from apps.core.errors import ChecxrayError
from apps.evaluation.models import EvaluationSet
from apps.evaluation.services import create_evaluation_set, switch_evaluation_set


class Command(BaseCommand):
    help = (
        "List the evaluation sets; with --add NAME --data DIR add one; with --off or --on NAME disable or enable one."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--add", metavar="NAME", help="a new set; needs --data")
        what.add_argument("--off", metavar="NAME", help="do not evaluate new versions on it any more")
        what.add_argument("--on", metavar="NAME", help="evaluate new versions on it again")
        parser.add_argument("--data", type=Path, help="folder in a layout of docs/data.md")
        parser.add_argument("--split", type=Path, metavar="FILE", help="list of film names; default: test_list.txt")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["add"]:
            self._add(options)
        for flag in ("off", "on"):
            name = options[flag]
            if name:
                self._switch(name, is_active=flag == "on")
        for each in EvaluationSet.objects.all():
            films = f"{each.films} films of {each.patients} patients"
            self.stdout.write(f"{each}: {films}, {each.folder}{'' if each.is_active else ' (off)'}")

    def _switch(self, name: str, *, is_active: bool) -> None:
        try:
            switch_evaluation_set(name=name, is_active=is_active)
        except ChecxrayError as error:
            raise CommandError(f"{error.detail} Run this command without options to list them.") from error

    def _add(self, options: dict[str, Any]) -> None:
        if options["data"] is None:
            raise CommandError("Give the folder of its films: --data DIR.")
        split: Path | None = options["split"]
        try:
            validate_slug(options["add"])
            create_evaluation_set(
                name=options["add"],
                folder=str(options["data"].absolute()),
                split=str(split.absolute()) if split else "",
            )
        except ValidationError as error:
            raise CommandError(f"{options['add']!r} is not a valid name: use letters, digits, - and _.") from error
        except ChecxrayError as error:
            raise CommandError(error.detail) from error

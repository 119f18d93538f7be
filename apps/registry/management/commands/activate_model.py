"""Put a registered version into service, or go back to the former one."""

import getpass
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.core.errors import ChecxrayError
from apps.registry.services import activate, find_version, roll_back


class Command(BaseCommand):
    help = "Put name:number into service for the whole platform, operating points included; --rollback goes back."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("version", nargs="?", help="name:number")
        parser.add_argument("--rollback", action="store_true", help="go back to the version before")
        parser.add_argument("--reason", default="", help="why; kept in the ledger")

    def handle(self, *args: Any, **options: Any) -> None:
        if bool(options["version"]) == options["rollback"]:
            raise CommandError("Give either name:number or --rollback.")
        actor = f"cli:{getpass.getuser()}"
        try:
            if options["rollback"]:
                move = roll_back(actor=actor, reason=options["reason"])
            else:
                move = activate(version=find_version(options["version"]), actor=actor, reason=options["reason"])
        except ChecxrayError as error:
            raise CommandError(error.detail) from error
        self.stdout.write(f"{move.to_version} is in service (before: {move.from_version or 'none'}).")

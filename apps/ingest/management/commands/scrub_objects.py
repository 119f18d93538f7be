"""``manage.py scrub_objects``: find stored objects that are damaged, missing or without a row, and repair them."""

import argparse
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.core.errors import ChecxrayError
from apps.ingest.scrub import Scrub, unknown_tenants
from apps.ingest.scrub_models import scrub_models
from apps.ingest.scrub_state import load_position
from apps.tenants.models import Tenant


def _share(text: str) -> float:
    share = float(text)
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError("a share is a number from 0 to 1")
    return share


class Command(BaseCommand):
    help = (
        "Compare the object storage with the database: every object must exist, and all or a share of them are hashed. "
        "A run that was stopped continues where it was. The exit code is 0 where all is in order or was repaired."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--share", type=_share, default=1.0, help="of the objects, how many are hashed (default 1)")
        parser.add_argument(
            "--repair",
            action="store_true",
            help="move damaged objects into quarantine/, remove objects without a row that are older than 24 h",
        )
        parser.add_argument("--tenant", default="", help="only this tenant (its slug)")
        parser.add_argument("--restart", action="store_true", help="start from the beginning where a run was stopped")

    def handle(self, *args: Any, **options: Any) -> None:
        tenants = Tenant.objects.filter(slug=options["tenant"]) if options["tenant"] else Tenant.objects.all()
        if not tenants:
            raise CommandError("There is no such tenant." if options["tenant"] else "This database has no tenant.")
        wanted = {name: options[name] for name in ("share", "repair", "tenant")}
        try:
            position = load_position(wanted, restart=options["restart"])
            if position.after:
                self.stdout.write(f"Continuing where the last run stopped: {position.tally}")
            scrub = Scrub(share=options["share"], repair=options["repair"], report=self.stdout.write, position=position)
            tally = scrub.run(list(tenants))
            if not options["tenant"]:
                scrub_models(scrub)
                for folder in unknown_tenants():
                    self.stdout.write(f"t/{folder} is of a tenant that is not in this database; it is not changed.")
            scrub.end()
        except ChecxrayError as error:
            raise CommandError(f"{error} The same command continues where this run stopped.") from error
        self.stdout.write(str(tally))
        if tally.unrepaired:
            raise CommandError(f"{tally.unrepaired} objects need attention: see above, and docs/storage.md.")

"""Read the stored objects again: which are damaged, missing, or belong to nothing."""

import argparse
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.core.errors import ChecxrayError
from apps.ingest.scrub import Scrub, unknown_tenants
from apps.ingest.scrub_models import scrub_models
from apps.ingest.scrub_state import last_place
from apps.tenants.models import Tenant


def _share(text: str) -> float:
    share = float(text)
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError("a share is a number from 0 to 1")
    return share


class Command(BaseCommand):
    help = (
        "Compare the object storage with the rows: every object is looked for, all or a share of them are hashed. "
        "A run that was stopped goes on where it was. The exit code is 0 where all is well or was repaired."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--share", type=_share, default=1.0, help="of the objects, how many are hashed (default 1)")
        parser.add_argument(
            "--repair",
            action="store_true",
            help="move damaged objects into quarantine/, remove objects that belong to nothing and are older than 24 h",
        )
        parser.add_argument("--tenant", default="", help="only this tenant (its slug)")
        parser.add_argument("--restart", action="store_true", help="begin anew where a run was stopped")

    def handle(self, *args: Any, **options: Any) -> None:
        tenants = Tenant.objects.filter(slug=options["tenant"]) if options["tenant"] else Tenant.objects.all()
        if not tenants:
            raise CommandError("There is no such tenant." if options["tenant"] else "This database has no tenant.")
        wanted = {name: options[name] for name in ("share", "repair", "tenant")}
        try:
            place = last_place(wanted, restart=options["restart"])
            if place.after:
                self.stdout.write(f"Going on where the last run stopped: {place.tally}")
            scrub = Scrub(share=options["share"], repair=options["repair"], report=self.stdout.write, place=place)
            tally = scrub.run(list(tenants))
            if not options["tenant"]:
                scrub_models(scrub)
                for folder in unknown_tenants():
                    self.stdout.write(f"t/{folder} is of a tenant that this database does not know; it is left alone.")
            scrub.end()
        except ChecxrayError as error:
            raise CommandError(f"{error} The same command goes on where this run stopped.") from error
        self.stdout.write(str(tally))
        if tally.unrepaired:
            raise CommandError(f"{tally.unrepaired} objects need attention: see above, and docs/storage.md.")

"""Start, change or end a challenger: a registered version on trial beside the one in service."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.core.errors import ChecxrayError
from apps.deployment.management.options import (
    add_change_options,
    decision_arguments,
    print_lost_points,
    release_arguments,
)
from apps.deployment.models import Activation, ActivationRequest
from apps.deployment.services import challenge_or_request, end_challenge
from apps.registry.services import find_version


class Command(BaseCommand):
    help = (
        "Let name:number read beside the version in service: with --shadow it reads every study once more, and no "
        "clinician sees its results; with --canary it reads a share of the studies for the patients. The same command "
        "with another share changes the share; --end ends the trial."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("version", nargs="?", help="name:number")
        parser.add_argument("--shadow", action="store_true", help="read the same studies, shown to no clinician")
        parser.add_argument("--canary", type=int, metavar="PERCENT", help="read this share of the studies, 1 to 99")
        parser.add_argument("--end", action="store_true", help="end the trial; what the challenger has read stays")
        add_change_options(parser, tenant_help="among this tenant's studies only")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["end"] == bool(options["version"]):
            raise CommandError("Give either name:number or --end.")
        if not options["end"] and options["shadow"] == (options["canary"] is not None):
            raise CommandError("Say how it reads: --shadow or --canary PERCENT.")
        try:
            made = _challenge(options)
        except ChecxrayError as error:
            raise CommandError(error.detail) from error
        if isinstance(made, ActivationRequest):
            self.stdout.write(made.waiting_message)
        elif options["end"]:
            self.stdout.write(f"{made.to_version} challenges {made.from_version} no more ({made.scope}).")
        else:
            how = "in the shadow" if made.percent is None else f"{made.percent} % of the studies"
            self.stdout.write(f"{made.to_version} reads {how} beside {made.from_version} ({made.scope}).")
            print_lost_points(self, made)


def _challenge(options: dict[str, Any]) -> Activation | ActivationRequest:
    decision = decision_arguments(options)
    if options["end"]:
        return end_challenge(**decision)
    version = find_version(options["version"])
    return challenge_or_request(version=version, percent=options["canary"], **release_arguments(options), **decision)

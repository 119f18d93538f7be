"""Try a registered version out beside the one that serves, or end that."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.core.errors import ChecxrayError
from apps.deployment.management.options import add_decision_options, decision_arguments, warn_of_lost_points
from apps.deployment.models import Activation, ActivationRequest
from apps.deployment.services import challenge_or_request, end_challenge
from apps.registry.services import find_version
from apps.tenants.services import find_tenant


class Command(BaseCommand):
    help = (
        "Let name:number read beside the version that serves: --shadow reads every study once more and shows nobody; "
        "--canary reads a share of them for the patients; again with another share changes it; --end ends it."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("version", nargs="?", help="name:number")
        parser.add_argument("--shadow", action="store_true", help="read the same studies, shown to no clinician")
        parser.add_argument("--canary", type=int, metavar="PERCENT", help="read this share of the studies, 1 to 99")
        parser.add_argument("--end", action="store_true", help="end the challenger; what it has read stays")
        parser.add_argument("--tenant", metavar="SLUG", help="among this tenant's studies only")
        parser.add_argument(
            "--own-points", action="store_true", help="judge by the version's own points, not by what tenants chose"
        )
        parser.add_argument(
            "--despite-gate", action="store_true", help="a canary although it did not pass the gate; needs --reason"
        )
        add_decision_options(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        if options["end"] == bool(options["version"]):
            raise CommandError("Give either name:number or --end.")
        if not options["end"] and options["shadow"] == (options["canary"] is not None):
            raise CommandError("Say how it reads: --shadow or --canary PERCENT.")
        try:
            move = _move(options)
        except ChecxrayError as error:
            raise CommandError(error.detail) from error
        if isinstance(move, ActivationRequest):
            self.stdout.write(move.in_words)
        elif options["end"]:
            self.stdout.write(f"{move.to_version} challenges {move.from_version} no more ({move.scope}).")
        else:
            how = "in the shadow" if move.percent is None else f"{move.percent} % of the studies"
            self.stdout.write(f"{move.to_version} reads {how} beside {move.from_version} ({move.scope}).")
            warn_of_lost_points(self, move)


def _move(options: dict[str, Any]) -> Activation | ActivationRequest:
    tenant = find_tenant(options["tenant"]) if options["tenant"] else None
    why: dict[str, Any] = {**decision_arguments(options), "tenant": tenant}
    if options["end"]:
        return end_challenge(**why)
    version = find_version(options["version"])
    return challenge_or_request(
        version=version,
        percent=options["canary"],
        keeps_points=not options["own_points"],
        despite_gate=options["despite_gate"],
        **why,
    )

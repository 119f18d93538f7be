"""Put a registered version into service, or go back to the former one."""

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.core.errors import ChecxrayError
from apps.deployment.management.options import add_decision_options, decision_arguments, warn_of_lost_points
from apps.deployment.models import Activation, ActivationRequest
from apps.deployment.services import activate_or_request, roll_back, unpin
from apps.inference.rollout import last_seen_of_workers, rollout
from apps.registry.services import find_version
from apps.tenants.services import find_tenant

_LOOK_SECONDS = 0.25


class Command(BaseCommand):
    help = (
        "Put name:number into service for the whole platform, or pinned for one tenant, operating points included; "
        "--rollback goes back, --unpin lets a tenant follow the platform again."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("version", nargs="?", help="name:number")
        parser.add_argument("--tenant", metavar="SLUG", help="for this tenant only, whatever serves the others")
        parser.add_argument("--rollback", action="store_true", help="go back to the version before")
        parser.add_argument("--unpin", action="store_true", help="let the tenant follow the platform again")
        parser.add_argument(
            "--own-points", action="store_true", help="drop what tenants chose; judge by the version's own points"
        )
        parser.add_argument(
            "--despite-gate", action="store_true", help="although it did not pass the gate; needs --reason"
        )
        parser.add_argument(
            "--wait", type=float, default=15.0, metavar="SECONDS", help="how long to wait for the workers (default 15)"
        )
        add_decision_options(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        if sum(map(bool, (options["version"], options["rollback"], options["unpin"]))) != 1:
            raise CommandError("Give either name:number or --rollback or --unpin.")
        if options["unpin"] and not options["tenant"]:
            raise CommandError("Say whom to unpin: --tenant SLUG.")
        before = last_seen_of_workers()
        try:
            move = _move(options)
        except ChecxrayError as error:
            raise CommandError(error.detail) from error
        if isinstance(move, ActivationRequest):
            self.stdout.write(move.in_words)
            return
        whom = f" for {move.for_tenant}" if move.for_tenant else ""
        if move.from_version == move.to_version:
            self.stdout.write(f"{move.to_version} stays in service{whom}; {_what_moved(move)}.")
        else:
            self.stdout.write(f"{move.to_version} is in service{whom} (before: {move.from_version or 'none'}).")
        warn_of_lost_points(self, move)
        self._follow(move, before, options["wait"])

    def _follow(self, move: Activation, before: Mapping[str, datetime], seconds: float) -> None:
        """Say how far the workers are; a version that one of them cannot load is not in service there."""
        deadline = time.monotonic() + seconds
        found = rollout(move.to_version, before)
        while found.waiting and not found.refusals and time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)
            found = rollout(move.to_version, before)
        if found.refusals:
            told = "; ".join(f"{worker}: {reason.rstrip('.')}" for worker, reason in found.refusals)
            back = f"--rollback --tenant {move.for_tenant.slug}" if move.for_tenant else "--rollback"
            raise CommandError(
                f"Workers cannot load {move.to_version} and go on with what read before. {told}. Register it anew, or "
                f"go back: manage.py activate_model {back}"
            )
        self.stdout.write(found.description)


def _what_moved(move: Activation) -> str:
    """What a move changed that left the version as it was."""
    if move.points_before != move.points_after:
        return "its operating points moved"
    if move.act == Activation.Act.UNPINNED:
        return "it follows the platform again"
    return "it is pinned from now on" if move.own_before is False and move.for_tenant else "nothing else changed"


def _move(options: dict[str, Any]) -> Activation | ActivationRequest:
    tenant = find_tenant(options["tenant"]) if options["tenant"] else None
    why, keeps_points = decision_arguments(options), not options["own_points"]
    if options["rollback"]:
        return roll_back(tenant=tenant, **why)
    if tenant is not None and options["unpin"]:
        return unpin(tenant=tenant, keeps_points=keeps_points, **why)
    version = find_version(options["version"])
    why["despite_gate"] = options["despite_gate"]
    return activate_or_request(version=version, tenant=tenant, keeps_points=keeps_points, **why)

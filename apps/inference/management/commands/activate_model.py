"""Put a registered version into service, roll back to the former one, or let a tenant follow the platform again."""

import time
from collections.abc import Mapping
from datetime import datetime
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
from apps.deployment.services import activate_or_request, roll_back, unpin
from apps.inference.rollout import last_seen_of_workers, rollout
from apps.registry.services import find_version

_LOOK_SECONDS = 0.25
_NO_REASON = "Activated by command, without a reason."


class Command(BaseCommand):
    help = (
        "Put name:number into service for the whole platform, or pinned for one tenant, operating points included; "
        "--rollback goes back, --unpin lets a tenant follow the platform again."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("version", nargs="?", help="name:number")
        parser.add_argument("--rollback", action="store_true", help="go back to the version before")
        parser.add_argument("--unpin", action="store_true", help="let the tenant follow the platform again")
        parser.add_argument(
            "--wait", type=float, default=15.0, metavar="SECONDS", help="how long to wait for the workers (default 15)"
        )
        add_change_options(parser, tenant_help="for this tenant only, whatever serves the others")

    def handle(self, *args: Any, **options: Any) -> None:
        if sum(map(bool, (options["version"], options["rollback"], options["unpin"]))) != 1:
            raise CommandError("Give either name:number or --rollback or --unpin.")
        if options["unpin"] and not options["tenant"]:
            raise CommandError("Name the tenant to unpin: --tenant SLUG.")
        before = last_seen_of_workers()
        try:
            entry = _change(options)
        except ChecxrayError as error:
            raise CommandError(error.detail) from error
        if isinstance(entry, ActivationRequest):
            self.stdout.write(entry.waiting_message)
            return
        whom = f" for {entry.for_tenant}" if entry.for_tenant else ""
        if entry.from_version == entry.to_version:
            self.stdout.write(f"{entry.to_version} stays in service{whom}; {_what_changed(entry)}.")
        else:
            self.stdout.write(f"{entry.to_version} is in service{whom} (before: {entry.from_version or 'none'}).")
        print_lost_points(self, entry)
        if entry.why_no_preview:
            self.stderr.write(
                self.style.WARNING(
                    f"Warning: no preview of this switch was current. manage.py preview_switch {entry.to_version} "
                    "--tenant SLUG shows what it changes, before the activation."
                )
            )
        self._follow(entry, before, options["wait"])

    def _follow(self, entry: Activation, before: Mapping[str, datetime], seconds: float) -> None:
        """Report which workers have loaded the version; fail if one of them cannot load it."""
        deadline = time.monotonic() + seconds
        found = rollout(entry.to_version, before)
        while found.waiting and not found.refusals and time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)
            found = rollout(entry.to_version, before)
        if found.refusals:
            reasons = "; ".join(f"{worker}: {reason.rstrip('.')}" for worker, reason in found.refusals)
            back = f"--rollback --tenant {entry.for_tenant.slug}" if entry.for_tenant else "--rollback"
            raise CommandError(
                f"Workers cannot load {entry.to_version} and keep the version that they have. {reasons}. Register it "
                f"again, or roll back: manage.py activate_model {back}"
            )
        self.stdout.write(found.description)


def _what_changed(entry: Activation) -> str:
    """What an entry changed that left the version as it was."""
    if entry.points_before != entry.points_after:
        return "its operating points changed"
    if entry.act == Activation.Act.UNPINNED:
        return "it follows the platform again"
    return "it is pinned from now on" if entry.own_before is False and entry.for_tenant else "nothing else changed"


def _change(options: dict[str, Any]) -> Activation | ActivationRequest:
    decision, release = decision_arguments(options), release_arguments(options)
    if options["rollback"]:
        return roll_back(**decision)
    if options["unpin"]:
        return unpin(keeps_points=release["keeps_points"], **decision)
    version = find_version(options["version"])
    return activate_or_request(
        version=version, why_no_preview=decision["reason"].strip() or _NO_REASON, **release, **decision
    )

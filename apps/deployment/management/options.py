"""Options and output that `activate_model` and `challenge_model` share: both change what is in service."""

from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandParser

from apps.audit.services import Actor, command_actor
from apps.core.errors import NotFoundError
from apps.deployment.ledger.lost_points import lost_points_warning
from apps.deployment.models import Activation
from apps.tenants.services import find_tenant


def add_change_options(parser: CommandParser, *, tenant_help: str) -> None:
    """Add the options of a change: for whom, with which operating points, past which gate, by whom and why."""
    parser.add_argument("--tenant", metavar="SLUG", help=tenant_help)
    parser.add_argument(
        "--own-points", action="store_true", help="use the version's own operating points, not what tenants chose"
    )
    parser.add_argument(
        "--despite-gate",
        action="store_true",
        help="override the floor and release gates that were not passed; needs --reason",
    )
    parser.add_argument("--reason", default="", help="why; kept in the ledger")
    parser.add_argument(
        "--operator", metavar="EMAIL", help="the operator who requests it; needed where a second one must confirm"
    )


def decision_arguments(options: dict[str, Any]) -> dict[str, Any]:
    """The service arguments of every change: who, why, and for which tenant.

    Raises:
        NotFoundError: there is no such tenant, or no active operator of that address.
    """
    tenant = find_tenant(options["tenant"]) if options["tenant"] else None
    return {"by": _actor(options["operator"]), "reason": options["reason"], "tenant": tenant}


def release_arguments(options: dict[str, Any]) -> dict[str, Any]:
    """The service arguments of a change that lets a version read: its operating points and its release gates."""
    return {"keeps_points": not options["own_points"], "despite_gate": options["despite_gate"]}


def _actor(email: str | None) -> Actor:
    by = command_actor()
    if email is None:
        return by
    operator = get_user_model().objects.filter(is_staff=True, is_active=True, email__iexact=email).first()
    if operator is None:
        raise NotFoundError("--operator: there is no active operator of that address.")
    return Actor(name=by.name, user_id=operator.pk)


def print_lost_points(command: BaseCommand, entry: Activation) -> None:
    """Warn of the findings that have lost their operating point by a change."""
    if warning := lost_points_warning(entry):
        command.stderr.write(command.style.WARNING(f"Warning: {warning}"))

"""Options and messages that the commands share which change what is in service."""

from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandParser

from apps.core.command_line import actor
from apps.core.errors import NotFoundError
from apps.deployment.ledger.lost_points import lost_points_warning
from apps.deployment.models import Activation


def add_decision_options(parser: CommandParser) -> None:
    parser.add_argument("--reason", default="", help="why; kept in the ledger")
    parser.add_argument(
        "--operator", metavar="EMAIL", help="the operator who asks; needed where a second one must confirm"
    )


def decision_arguments(options: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a move: the account on this machine, the operator if one was named, and the reason.

    Raises:
        NotFoundError: there is no active operator of that address.
    """
    why = {"actor": actor(), "reason": options["reason"]}
    if options["operator"] is None:
        return why
    people = get_user_model().objects.filter(is_staff=True, is_active=True)
    person = people.filter(email__iexact=options["operator"]).first()
    if person is None:
        raise NotFoundError("--operator: there is no active operator of that address.")
    return {**why, "by_id": person.pk}


def warn_of_lost_points(command: BaseCommand, move: Activation) -> None:
    """Say what a move leaves unjudged."""
    if warning := lost_points_warning(move):
        command.stderr.write(command.style.WARNING(f"Warning: {warning}"))

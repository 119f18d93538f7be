"""What the commands that move a pointer, or make a version that one may move to, have in common."""

import getpass
from datetime import datetime
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandParser

from apps.core.errors import NotFoundError
from apps.registry.judged import warning_after, warning_of
from apps.registry.models import Activation, ModelVersion
from apps.registry.selectors import version_state, with_state


def add_why(parser: CommandParser) -> None:
    parser.add_argument("--reason", default="", help="why; kept in the ledger")
    parser.add_argument(
        "--operator", metavar="EMAIL", help="the operator who asks; needed where a second one must confirm"
    )


def actor() -> str:
    """Who acts on the command line, as the ledger and the audit name it."""
    return f"cli:{getpass.getuser()}"


def who_and_why(options: dict[str, Any]) -> dict[str, Any]:
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


def warn(command: BaseCommand, move: Activation) -> None:
    """Say what a move leaves unjudged."""
    if warning := warning_after(move):
        command.stderr.write(command.style.WARNING(f"Warning: {warning}"))


def registered(version: ModelVersion, since: datetime) -> str:
    """What an operator should hear of a version that was registered, after ``since`` or long before."""
    if version.registered < since:
        state = version_state(with_state(ModelVersion.objects.filter(pk=version.pk)).get())
        return f"{version} was registered before ({state}) from the same artifact; its stored files are whole."
    return f"{version} is registered as a candidate ({version.sha256}).\n{what_next(version)}"


def what_next(version: ModelVersion) -> str:
    """What an operator may do with a version that was just registered."""
    lines = [
        warning_of(version),
        f"To put it into service: manage.py activate_model {version}",
        f"To let hospitals name it before: manage.py offer_model {version}",
    ]
    return "\n".join(line for line in lines if line)

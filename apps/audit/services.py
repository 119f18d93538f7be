"""Services that write the audit trail."""

import datetime
import getpass
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from django.db import connection
from django.db.models.functions import Now
from django.http import HttpRequest

from apps.audit.models import AuditEvent, SecurityEvent
from apps.core.client_address import client_address
from apps.core.identifiers import uuid7
from apps.tenants.scope import current_tenant_id

# A page, its images and its reloads by a script are one access to a study.
ACCESS_WINDOW: Final = datetime.timedelta(minutes=10)


@dataclass(frozen=True)
class Actor:
    """The user, API key, DICOM peer or command that acts."""

    name: str
    user_id: UUID | None = None
    address: str | None = None


def actor_of(request: HttpRequest) -> Actor:
    client = getattr(request, "api_client", None)
    address = client_address(request)
    if client is not None:
        return Actor(name=f"api:{client.name}"[:100], address=address)
    # REST framework removes the user from a request that it refuses; the membership stays.
    membership = getattr(request, "membership", None)
    user_id = request.user.pk if membership is None else membership.user_id
    return Actor(name=f"user:{user_id}", user_id=user_id, address=address)


def user_actor(user_id: UUID, address: str | None = None) -> Actor:
    """The user, outside a request."""
    return Actor(name=f"user:{user_id}", user_id=user_id, address=address)


def command_actor() -> Actor:
    """The account on this machine that runs a management command."""
    return Actor(name=f"cli:{getpass.getuser()}"[:100])


def operation_of(request: HttpRequest) -> str:
    """The name of the view that the request reached; its path may contain identifiers and is not stored."""
    match = request.resolver_match
    return match.view_name[:100] if match is not None else ""


# Plain SQL: every request writes a line, and the ORM needs longer to build it than PostgreSQL to execute it. A trigger
# sets the time and the database role.
_INSERT = """
insert into audit_auditevent (id, tenant_id, action, actor, user_id, address, object_id, amount, operation, outcome)
values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""


def record(
    *,
    action: AuditEvent.Action,
    by: Actor,
    object_id: UUID | None = None,
    amount: int = 1,
    operation: str = "",
    outcome: AuditEvent.Outcome = AuditEvent.Outcome.SUCCESS,
) -> None:
    """Append one action to the trail of the tenant in force, in the same transaction as the action itself."""
    values = [action.value, by.name, by.user_id, by.address, object_id, amount, operation, outcome.value]
    with connection.cursor() as cursor:
        cursor.execute(_INSERT, [uuid7(), current_tenant_id(), *values])


def record_once(*, action: AuditEvent.Action, by: Actor, object_id: UUID | None = None, operation: str = "") -> None:
    """Append an access unless the same actor's access to the same object was recorded within ``ACCESS_WINDOW``.

    For what a page loads by itself: its images, and the reloads of its panels. A direct access to them, without the
    page, is recorded like any other.
    """
    same = AuditEvent.objects.filter(action=action, actor=by.name, object_id=object_id, at__gt=Now() - ACCESS_WINDOW)
    if not same.exists():
        record(action=action, by=by, object_id=object_id, operation=operation)


def record_security_event(
    *, action: SecurityEvent.Action, address: str | None, user_id: UUID | None = None, amount: int = 1
) -> None:
    """Append a refusal for which no tenant is known."""
    SecurityEvent.objects.create(action=action, address=address, user_id=user_id, amount=amount)

"""Writing the audit trail."""

from dataclasses import dataclass
from uuid import UUID

from django.db import connection
from django.http import HttpRequest
from django.utils import timezone

from apps.audit.models import AuditEvent
from apps.core.identifiers import uuid7
from apps.tenants.scope import current_tenant_id


@dataclass(frozen=True)
class Actor:
    """Who acts: a person, or a machine by its name."""

    name: str
    user_id: UUID | None = None


def actor_of(request: HttpRequest) -> Actor:
    client = getattr(request, "api_client", None)
    if client is not None:
        return Actor(name=f"api:{client.name}"[:100])
    return Actor(name=f"user:{request.user.pk}", user_id=request.user.pk)


# Written out: every request writes a line, and the ORM needs longer to write this than PostgreSQL to keep it.
_INSERT = """
insert into audit_auditevent (id, tenant_id, at, action, actor, user_id, object_id, amount)
values (%s, %s, %s, %s, %s, %s, %s, %s)
"""


def record(*, action: AuditEvent.Action, by: Actor, object_id: UUID | None = None, amount: int = 1) -> None:
    """Append one act to the trail of the tenant in force, in the same transaction as the act itself."""
    with connection.cursor() as cursor:
        cursor.execute(
            _INSERT,
            [uuid7(), current_tenant_id(), timezone.now(), action.value, by.name, by.user_id, object_id, amount],
        )

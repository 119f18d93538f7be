"""Writing the audit trail."""

from dataclasses import dataclass
from uuid import UUID

from django.http import HttpRequest

from apps.audit.models import AuditEvent


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


def record(*, action: AuditEvent.Action, by: Actor, object_id: UUID | None = None, amount: int = 1) -> None:
    """Append one act to the trail of the tenant in force, in the same transaction as the act itself."""
    AuditEvent.objects.create(action=action, actor=by.name, user_id=by.user_id, object_id=object_id, amount=amount)

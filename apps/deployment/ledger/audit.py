"""Audit events of a ledger entry: one for each tenant that the entry concerns."""

from uuid import UUID

from apps.audit.models import AuditEvent
from apps.audit.services import Actor, record
from apps.deployment.models import Activation, Challenger, Deployment
from apps.tenants.models import Tenant
from apps.tenants.scope import inside_tenant

Act, Action = Activation.Act, AuditEvent.Action
# No audit event for a retirement: a retired version reads for no tenant.
_OF_ACTS = {
    Act.ACTIVATED: Action.MODEL_ACTIVATED,
    Act.ROLLED_BACK: Action.MODEL_ROLLED_BACK,
    Act.UNPINNED: Action.MODEL_UNPINNED,
    Act.POINTS: Action.POINTS_CHANGED,
    Act.CANARY: Action.MODEL_CANARY,
    Act.SHADOW: Action.MODEL_SHADOW,
    Act.CHALLENGE_ENDED: Action.MODEL_CHALLENGE_ENDED,
    Act.RECALIBRATED: Action.RECALIBRATED,
    Act.AI_STOPPED: Action.AI_STOPPED,
    Act.AI_STARTED: Action.AI_STARTED,
}


def record_entry(entry: Activation) -> None:
    """Write the audit events in the transaction of the entry; the reason stays in the ledger alone."""
    action = _OF_ACTS.get(Act(entry.act))
    if action is None:
        return
    if entry.undoes is not None and entry.undoes.act == Act.POINTS:
        action = Action.POINTS_CHANGED
    by = Actor(name=entry.actor, user_id=entry.by_id)
    for tenant_id in concerned_tenants(entry):
        with inside_tenant(tenant_id):
            record(action=action, by=by, object_id=entry.pk)


def concerned_tenants(entry: Activation) -> list[UUID]:
    """The entry's own tenant, or every tenant that follows the platform."""
    if entry.for_tenant_id is not None:
        return [entry.for_tenant_id]
    pinned = Deployment.objects.exclude(for_tenant=None).values("for_tenant")
    tenants = Tenant.objects.exclude(pk__in=pinned)
    if entry.act in (Act.CANARY, Act.SHADOW, Act.CHALLENGE_ENDED):
        tenants = tenants.exclude(
            pk__in=Challenger.objects.filter(ended=None).exclude(for_tenant=None).values("for_tenant")
        )
    return list(tenants.values_list("pk", flat=True))

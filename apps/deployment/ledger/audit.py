"""A line of the ledger in the audit trail of each hospital that it concerns."""

from uuid import UUID

from apps.audit.models import AuditEvent
from apps.audit.services import Actor, record
from apps.deployment.models import Activation, Challenger, Deployment
from apps.tenants.models import Tenant
from apps.tenants.scope import inside_tenant

Act, Action = Activation.Act, AuditEvent.Action
# A version is retired where it reads for nobody.
_OF_ACTS = {
    Act.ACTIVATED: Action.MODEL_ACTIVATED,
    Act.ROLLED_BACK: Action.MODEL_ROLLED_BACK,
    Act.UNPINNED: Action.MODEL_UNPINNED,
    Act.POINTS: Action.POINTS_CHANGED,
    Act.CANARY: Action.MODEL_CANARY,
    Act.SHADOW: Action.MODEL_SHADOW,
    Act.CHALLENGE_ENDED: Action.MODEL_CHALLENGE_ENDED,
}


def record_entry(line: Activation) -> None:
    """Write it into the trails, in the transaction of the move; why it was made is the ledger's alone."""
    action = _OF_ACTS.get(Act(line.act))
    if action is None:
        return
    if line.undoes is not None and line.undoes.act == Act.POINTS:
        action = Action.POINTS_CHANGED
    by = Actor(line.actor, line.by_id)
    for tenant_id in _concerned(line):
        with inside_tenant(tenant_id):
            record(action=action, by=by, object_id=line.pk)


def _concerned(line: Activation) -> list[UUID]:
    if line.for_tenant_id is not None:
        return [line.for_tenant_id]
    apart = Deployment.objects.exclude(for_tenant=None).values("for_tenant")
    tenants = Tenant.objects.exclude(pk__in=apart)
    if line.act in (Act.CANARY, Act.SHADOW, Act.CHALLENGE_ENDED):
        tenants = tenants.exclude(
            pk__in=Challenger.objects.filter(ended=None).exclude(for_tenant=None).values("for_tenant")
        )
    return list(tenants.values_list("pk", flat=True))

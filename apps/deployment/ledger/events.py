"""Events of ledger entries, published in the transaction of the change."""

from typing import Any

from apps.deployment.ledger.audit import concerned_tenants
from apps.deployment.models import Activation
from apps.events.models import ModelEvent, TenantEvent
from apps.events.services import publish
from apps.events.tenant_events import publish_to_tenant
from apps.tenants.scope import inside_tenant

Type = ModelEvent.Type
_OF_ACTS = {
    Activation.Act.ACTIVATED: Type.ACTIVATED,
    Activation.Act.ROLLED_BACK: Type.ROLLED_BACK,
    Activation.Act.UNPINNED: Type.UNPINNED,
    Activation.Act.RETIRED: Type.RETIRED,
}


def publish_entry(entry: Activation) -> None:
    """Publish a ledger entry without its person and reason, which may hold anything and stay on the platform."""
    kind = _OF_ACTS.get(Activation.Act(entry.act))
    if kind is None:
        return
    data = {
        **entry.to_version.identity,
        "line": entry.number,
        "from_version": str(entry.from_version) if entry.from_version else None,
        "change_plan": entry.change_plan.number if entry.change_plan else None,
    }
    publish(kind=kind, version_id=entry.to_version_id, tenant=entry.for_tenant, entry_id=entry.pk, data=data)
    if entry.act != Activation.Act.RETIRED and entry.from_version_id != entry.to_version_id:
        _publish_to_tenants(entry, data)


def _publish_to_tenants(entry: Activation, data: dict[str, Any]) -> None:
    """Publish to each tenant for which another version reads from now on, however that came about."""
    for tenant_id in concerned_tenants(entry):
        with inside_tenant(tenant_id):
            publish_to_tenant(kind=TenantEvent.Type.MODEL_ACTIVATED, data={entry.pk: {**data, "act": entry.act}})

"""Events of ledger entries, published in the transaction of the change."""

from apps.deployment.models import Activation
from apps.events.models import ModelEvent
from apps.events.services import publish

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
    if kind is not None:
        before = str(entry.from_version) if entry.from_version else None
        publish(
            kind=kind,
            version_id=entry.to_version_id,
            tenant=entry.for_tenant,
            entry_id=entry.pk,
            data={
                **entry.to_version.identity,
                "line": entry.number,
                "from_version": before,
                "change_plan": entry.change_plan.number if entry.change_plan else None,
            },
        )

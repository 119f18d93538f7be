"""Events at a tenant, for the webhooks that its administrators set up."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from apps.core.wake_up import WakeUp, wake_after_commit
from apps.events.models import Delivery, TenantEvent
from apps.routing.models import Destination
from apps.tenants.models import Tenant
from apps.tenants.scope import current_tenant_id


def publish_to_tenant(*, kind: TenantEvent.Type, data: Mapping[UUID, Mapping[str, Any]]) -> None:
    """Record events of the tenant in force in the transaction of what happened, and queue their deliveries.

    Nothing is recorded where no webhook of the tenant wants them. An event that is there already is left out.

    Args:
        data: of each message, by the id of what it is about: ids of Checxray, no patient, no person, no free text.
            ``scope`` is added.
    """
    webhooks = _wanted_by(kind) if data else []
    if not webhooks:
        return
    scope = Tenant.objects.values_list("slug", flat=True).get(pk=current_tenant_id())
    events = [TenantEvent(type=kind, subject_id=pk, data={"scope": scope, **each}) for pk, each in data.items()]
    TenantEvent.objects.bulk_create(events, ignore_conflicts=True)
    written = set(TenantEvent.objects.filter(pk__in=[event.pk for event in events]).values_list("pk", flat=True))
    Delivery.objects.bulk_create(
        Delivery(destination=webhook, event=event, content=kind, study_id=event.data.get("study"))
        for webhook in webhooks
        for event in events
        if event.pk in written
    )
    wake_after_commit(WakeUp.SEND)


def _wanted_by(kind: TenantEvent.Type) -> list[Destination]:
    webhooks = Destination.objects.filter(kind=Destination.Kind.WEBHOOK, is_enabled=True)
    return list(webhooks.filter(contents__contains=[kind.value]))

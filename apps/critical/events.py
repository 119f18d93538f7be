"""The event ``result.critical``, for the hospital's webhooks and the operator's endpoints of this hospital alone."""

from collections.abc import Sequence

from apps.critical.models import CriticalNotice
from apps.events.models import ModelEvent, TenantEvent
from apps.events.services import has_own_endpoints, publish
from apps.events.tenant_events import publish_to_tenant
from apps.tenants.models import Tenant
from apps.tenants.scope import current_tenant_id


def publish_opened(notices: Sequence[CriticalNotice]) -> None:
    """Publish notices that were just opened, where the hospital has an endpoint for them: ids and label, no patient."""
    publish_to_tenant(kind=TenantEvent.Type.CRITICAL, data={notice.pk: _data(notice) for notice in notices})
    tenant = Tenant.objects.get(pk=current_tenant_id())
    if not has_own_endpoints(kind=ModelEvent.Type.CRITICAL, tenant=tenant):
        return
    for notice in notices:
        version = notice.job.model_version
        if version is not None:
            publish(
                kind=ModelEvent.Type.CRITICAL,
                version_id=version.pk,
                tenant=tenant,
                data=_data(notice),
            )


def _data(notice: CriticalNotice) -> dict[str, str]:
    version = notice.job.model_version
    return {
        **(version.identity if version else {}),
        "notice": str(notice.pk),
        "study": str(notice.study_id),
        "job": str(notice.job_id),
        "label": notice.label,
    }

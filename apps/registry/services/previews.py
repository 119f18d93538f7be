"""Keeping what a preview found, so that the ledger can name it."""

import hashlib
import json

from apps.core.errors import ConflictError
from apps.registry.models import ModelVersion, SwitchPreview
from apps.registry.previews import Read, preview_report
from apps.registry.selectors import version_for
from apps.registry.services.points import chosen
from apps.tenants.models import Tenant


def store_preview(
    *, tenant: Tenant, from_version: ModelVersion, to_version: ModelVersion, read: Read, actor: str
) -> SwitchPreview:
    """Count what the switch would change with the points that are in force now, and keep it.

    Raises:
        ConflictError: another version serves the tenant by now.
    """
    if version_for(tenant.pk) != from_version:
        raise ConflictError(f"{from_version} does not serve {tenant} any more: preview the switch again.")
    report = preview_report(from_version, to_version, chosen(from_version, [tenant.pk])[tenant.pk], read)
    text = json.dumps(report, sort_keys=True, allow_nan=False)
    return SwitchPreview.objects.create(
        for_tenant=tenant,
        from_version=from_version,
        to_version=to_version,
        studies=read.studies,
        report_json=text,
        sha256=hashlib.sha256(text.encode()).hexdigest(),
        actor=actor,
    )

"""Store the previews of version changes, so that a ledger entry can refer to them."""

import hashlib
import json

from django.db import transaction

from apps.audit.services import Actor
from apps.core.errors import ConflictError
from apps.deployment.models import PreviewJob, SwitchPreview
from apps.deployment.selectors import version_for
from apps.deployment.services import PREVIEWS
from apps.deployment.services.carry_points import chosen_points
from apps.registry.models import ModelVersion
from apps.tenants.models import Tenant
from apps.trials.preview_report import PairedProbabilities, preview_report


def complete_preview(
    *, job: PreviewJob, from_version: ModelVersion, probabilities: PairedProbabilities
) -> SwitchPreview | None:
    """Store the counts and end the job. Return None if another worker has claimed the job.

    Raises:
        ConflictError: another version serves the tenant now.
    """
    with transaction.atomic():
        if PREVIEWS.held(job).select_for_update().first() is None:
            return None
        preview = store_preview(
            tenant=job.for_tenant,
            from_version=from_version,
            to_version=job.model_version,
            probabilities=probabilities,
            by=Actor(name=job.actor),
        )
        PREVIEWS.complete(job=job, preview=preview)
        return preview


def store_preview(
    *,
    tenant: Tenant,
    from_version: ModelVersion,
    to_version: ModelVersion,
    probabilities: PairedProbabilities,
    by: Actor,
) -> SwitchPreview:
    """Count what a change to `to_version` would change with the operating points in force, and store the counts.

    Raises:
        ConflictError: another version serves the tenant now.
    """
    if version_for(tenant.pk) != from_version:
        raise ConflictError(f"{from_version} does not serve {tenant} any more: preview the switch again.")
    report = preview_report(
        from_version, to_version, chosen_points(from_version, [tenant.pk])[tenant.pk], probabilities
    )
    text = json.dumps(report, sort_keys=True, allow_nan=False)
    return SwitchPreview.objects.create(
        for_tenant=tenant,
        from_version=from_version,
        to_version=to_version,
        studies=probabilities.studies,
        report_json=text,
        sha256=hashlib.sha256(text.encode()).hexdigest(),
        actor=by.name,
    )

"""Previews: the wish for one, and what it found, so that the ledger can name it."""

import hashlib
import json
from uuid import UUID

from django.db import IntegrityError, transaction

from apps.core.errors import ConflictError, InvalidInputError
from apps.core.queue import Bell, ring
from apps.registry.models import ModelVersion, PreviewJob, SwitchPreview
from apps.registry.previews import Read, preview_report
from apps.registry.selectors import version_for
from apps.registry.services.points import chosen
from apps.registry.services.work import Queue
from apps.tenants.models import Tenant

PREVIEWS = Queue(PreviewJob, Bell.PREVIEW, ("for_tenant", "model_version"))


def request_preview(*, tenant: Tenant, version: ModelVersion, last: int, actor: str) -> PreviewJob:
    """Have a worker read the tenant's last studies once more, with this version.

    Raises:
        InvalidInputError: nobody reads so few or so many studies.
        ConflictError: there is nothing to compare, the version is retired, or the same is asked for already.
    """
    if not 1 <= last <= PreviewJob.MOST:
        raise InvalidInputError(f"Give a number of studies between 1 and {PreviewJob.MOST}.")
    if version.retired is not None:
        raise ConflictError(f"{version} is retired.")
    serving = version_for(tenant.pk)
    if serving is None or serving == version:
        raise ConflictError(f"There is nothing to compare: {serving or 'no version'} serves {tenant}.")
    try:
        with transaction.atomic():
            job = PreviewJob.objects.create(for_tenant=tenant, model_version=version, last=last, actor=actor)
    except IntegrityError as error:
        raise ConflictError(f"A preview of {version} for {tenant} is under way: wait for its end.") from error
    ring(PREVIEWS.bell)
    return job


def held_preview(*, job_id: UUID, fence: int) -> PreviewJob | None:
    """The job as its worker claimed it; None where another one took it up."""
    jobs = PreviewJob.objects.select_related(*PREVIEWS.related)
    return jobs.filter(pk=job_id, fence=fence, state=PreviewJob.State.RUNNING).first()


def note_progress(*, job: PreviewJob, done: int, of: int) -> None:
    PREVIEWS.held(job).update(done=done, of=of)


def complete_preview(*, job: PreviewJob, from_version: ModelVersion, read: Read) -> SwitchPreview | None:
    """Keep the counts and end the job; None where another worker took it up.

    Raises:
        ConflictError: another version serves the tenant by now.
    """
    with transaction.atomic():
        if PREVIEWS.held(job).select_for_update().first() is None:
            return None
        kept = store_preview(
            tenant=job.for_tenant,
            from_version=from_version,
            to_version=job.model_version,
            read=read,
            actor=job.actor,
        )
        PREVIEWS.complete(job=job, preview=kept)
        return kept


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

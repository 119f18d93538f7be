"""Preview jobs: an operator requests one, and the jobs worker makes the preview."""

from uuid import UUID

from django.db import IntegrityError, transaction

from apps.audit.services import Actor
from apps.core.errors import ConflictError, InvalidInputError
from apps.core.wake_up import WakeUp, wake_after_commit
from apps.core.work_queue import JobState, Queue
from apps.deployment.models import PreviewJob
from apps.deployment.selectors import version_for
from apps.registry.models import ModelVersion
from apps.tenants.models import Tenant

PREVIEWS = Queue(PreviewJob, WakeUp.PREVIEW, related=("for_tenant", "model_version"))


def request_preview(*, tenant: Tenant, version: ModelVersion, last: int, by: Actor) -> PreviewJob:
    """Queue a preview: a worker will read the tenant's last studies once more, with this version.

    Raises:
        InvalidInputError: the number of studies is out of range.
        ConflictError: there is nothing to compare, the version is retired, or the same preview is queued already.
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
            job = PreviewJob.objects.create(for_tenant=tenant, model_version=version, last=last, actor=by.name)
    except IntegrityError as error:
        raise ConflictError(f"A preview of {version} for {tenant} is under way: wait for its end.") from error
    wake_after_commit(PREVIEWS.wake_up)
    return job


def held_preview(*, job_id: UUID, fence: int) -> PreviewJob | None:
    """The job as a worker claimed it; None where another worker has claimed it since."""
    jobs = PreviewJob.objects.select_related(*PREVIEWS.related)
    return jobs.filter(pk=job_id, fence=fence, state=JobState.RUNNING).first()


def note_progress(*, job: PreviewJob, done: int, of: int) -> None:
    """Store how many studies have been read."""
    PREVIEWS.held(job).update(done=done, of=of)

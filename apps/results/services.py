"""Services for result objects: what a tenant wants, and the jobs that create them."""

from collections.abc import Collection
from uuid import UUID

from django.db import transaction
from django.utils.translation import gettext as _

from apps.audit.models import AuditEvent
from apps.audit.services import Actor, record
from apps.core.errors import ConflictError, NotFoundError
from apps.core.wake_up import WakeUp, wake_after_commit
from apps.core.work_queue import JobState
from apps.results.models import ResultJob, ResultPolicy
from apps.results.selectors import result_policy
from apps.tenants.models import Membership, Role
from apps.tenants.services import require_role


def change_result_policy(
    *,
    secondary_capture: bool,
    structured_report: bool,
    encapsulated_pdf: bool,
    membership: Membership | None,
    by: Actor,
) -> ResultPolicy:
    """Choose the kinds of objects that are created from now on; objects that are there stay.

    Raises:
        NotPermittedError: no administrator.
    """
    require_role(membership, Role.ADMIN)
    wanted = {
        "secondary_capture": secondary_capture,
        "structured_report": structured_report,
        "encapsulated_pdf": encapsulated_pdf,
    }
    with transaction.atomic():
        policy, _created = ResultPolicy.objects.update_or_create(defaults=wanted)
        record(action=AuditEvent.Action.RESULT_POLICY_CHANGED, by=by, object_id=policy.pk)
    return policy


def request_results(*, study_ids: Collection[UUID]) -> None:
    """Queue the creation of the objects that studies lack, in the transaction of what changed.

    Nothing is queued for a tenant that wants no objects, and nothing where a job waits already: it reads what the
    study says when it runs.
    """
    if not study_ids or not result_policy().kinds:
        return
    waiting = ResultJob.objects.filter(study__in=study_ids, state=JobState.QUEUED).values_list("study_id", flat=True)
    lacking = set(study_ids) - set(waiting)
    ResultJob.objects.bulk_create([ResultJob(study_id=study_id) for study_id in lacking])
    if lacking:
        wake_after_commit(WakeUp.CREATE_RESULTS)


def try_again(*, job_id: UUID, membership: Membership | None, by: Actor) -> None:
    """Queue a job that gave up once more.

    Raises:
        NotPermittedError: no administrator.
        NotFoundError: there is no such job.
        ConflictError: it did not give up.
    """
    require_role(membership, Role.ADMIN)
    with transaction.atomic():
        job = ResultJob.objects.filter(pk=job_id).first()
        if job is None:
            raise NotFoundError(_("There is no such job in this hospital."), "result-job-not-found")
        ended = ResultJob.objects.filter(pk=job_id, state__in=[JobState.FAILED, JobState.REJECTED])
        if not ended.update(state=JobState.QUEUED, attempts=0, run_after=None, finished=None, reason_code=""):
            raise ConflictError(_("It is queued already, or its objects were created meanwhile."), "result-job-open")
        record(action=AuditEvent.Action.RESULTS_REQUESTED, by=by, object_id=job.study_id)
        wake_after_commit(WakeUp.CREATE_RESULTS)

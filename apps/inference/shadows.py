"""Services for shadow readings: created with the job that they are compared with, and read when no job waits.

They are claimed across tenants, like jobs; a result is written inside one tenant. No clinician sees it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from django.db import connections, transaction
from django.db.models.functions import Now

from apps.core.metrics import SHADOWS
from apps.core.wake_up import WakeUp, wake_after_commit
from apps.core.work_queue import JobState
from apps.deployment.models import Challenger
from apps.deployment.selectors import challenger_for, open_challengers, thresholds_for
from apps.inference.leases import LEASE, TAKEN, WAITING, ClaimedShadow
from apps.inference.models import InferenceJob, ShadowReading
from apps.registry.models import ModelVersion
from apps.tenants.scope import current_tenant_id, tenant_tx


def queue_shadows(*, jobs: Sequence[InferenceJob]) -> None:
    """Queue shadow readings of these jobs of the tenant in force, in the transaction that completed the jobs."""
    challenger = challenger_for(current_tenant_id())
    if challenger is None or challenger.mode != Challenger.Mode.SHADOW:
        return
    # While the workers change versions, some jobs still complete on another version than the shadow is compared with.
    paired = [job for job in jobs if job.model_version_id == challenger.against_id]
    ShadowReading.objects.bulk_create([ShadowReading(job=job, challenger=challenger) for job in paired])
    if paired:
        wake_after_commit(WakeUp.INFER)


_CLAIM = f"""
update inference_shadowreading s set {TAKEN}, fence = fence + 1
  from (
      select id from inference_shadowreading where {WAITING} and challenger_id = any(%(challengers)s::uuid[])
       order by id limit %(limit)s for no key update skip locked
  ) as waiting
 where s.id = waiting.id returning s.id, s.tenant_id, s.fence, s.challenger_id, s.job_id
"""  # noqa: S608 (of constants)


def claim_shadows(
    *, limit: int, versions: Mapping[UUID, UUID], worker: str, suspect: bool = False
) -> list[ClaimedShadow]:
    """Claim up to ``limit`` waiting shadow readings, the oldest first; the attempt is counted at the claim.

    Args:
        versions: the versions of the challengers that this worker has loaded, by the challenger's id.
        suspect: as in `apps.inference.services.claim_jobs`.
    """
    with transaction.atomic(using="dispatch"), connections["dispatch"].cursor() as cursor:
        cursor.execute(
            _CLAIM,
            {
                "challengers": list(versions),
                "limit": limit,
                "lease": LEASE.total_seconds(),
                "worker": worker,
                "suspect": suspect,
            },
        )
        taken = sorted(cursor.fetchall())
    return [
        ClaimedShadow(shadow_id, tenant_id, fence, versions[challenger_id], job_id)
        for shadow_id, tenant_id, fence, challenger_id, job_id in taken
    ]


@dataclass(frozen=True)
class ShadowResult:
    """A challenger's output for an image: calibrated probabilities by label."""

    claim: ClaimedShadow
    probabilities: dict[str, float]


def complete_shadows(*, results: Sequence[ShadowResult], version: ModelVersion) -> None:
    """Write a challenger's results for images of the tenant in force; claims that were lost are left out."""
    points = thresholds_for(version, current_tenant_id())
    held = {row.pk: row for row in _held([result.claim for result in results])}
    for result in results:
        row = held.get(result.claim.id)
        if row is not None:
            row.probabilities = result.probabilities
            row.thresholds = {label: points[label] for label in result.probabilities}
            _end(row, JobState.COMPLETE)


def refuse_shadow(*, claim: ClaimedShadow, code: str, reason: str) -> None:
    """End a held reading of the tenant in force: the challenger refuses an image that the serving version read."""
    for row in _held([claim]):
        row.reason_code, row.reason = code, reason
        _end(row, JobState.REJECTED)


def _held(claims: Sequence[ClaimedShadow]) -> list[ShadowReading]:
    fences = {claim.id: claim.fence for claim in claims}
    rows = ShadowReading.objects.select_for_update(no_key=True).filter(id__in=fences, state=JobState.RUNNING)
    return [row for row in rows.order_by("id") if row.fence == fences[row.pk]]


def _end(row: ShadowReading, state: JobState) -> None:
    row.state, row.lease_until, row.finished = state, None, Now()
    row.save()
    SHADOWS.labels(state).inc()


def drop_ended_shadows() -> int:
    """Delete waiting readings of challengers that ended or became canaries; return how many there were."""
    shadows = [row.pk for row in open_challengers().values() if row.mode == Challenger.Mode.SHADOW]
    waiting = ShadowReading.objects.using("dispatch").filter(state=JobState.QUEUED).exclude(challenger__in=shadows)
    dropped = 0
    for tenant_id in set(waiting.values_list("tenant_id", flat=True)):
        with tenant_tx(tenant_id):
            rows = ShadowReading.objects.filter(state=JobState.QUEUED).exclude(challenger__in=shadows)
            dropped += rows.delete()[0]
    return dropped

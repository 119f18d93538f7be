"""Services for shadow readings: created with the job that they are compared with, and read when no job waits.

They are claimed across tenants, like jobs; a result is written inside one tenant. No clinician sees it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast
from uuid import UUID

from apps.core.metrics import SHADOWS
from apps.core.wake_up import WakeUp, wake_after_commit
from apps.core.work_queue import JobState
from apps.deployment.models import Challenger
from apps.deployment.selectors import challenger_for, open_challengers, thresholds_for
from apps.inference.leases import SHADOW_READINGS, ClaimedShadow
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


def claim_shadows(
    *, limit: int, versions: Mapping[UUID, UUID], worker: str, suspect: bool = False
) -> list[ClaimedShadow]:
    """Claim up to ``limit`` waiting shadow readings, the oldest first.

    Args:
        versions: the versions of the challengers that this worker has loaded, by the challenger's id.
        suspect: as in `apps.inference.services.claim_jobs`.
    """
    due = SHADOW_READINGS.due().filter(is_suspect=suspect, challenger__in=versions)
    return [
        ClaimedShadow(row.pk, cast(UUID, row.tenant_id), row.fence, versions[row.challenger_id], row.job_id)
        for row in SHADOW_READINGS.claim(worker=worker, limit=limit, due=due)
    ]


@dataclass(frozen=True)
class ShadowResult:
    """A challenger's output for an image: calibrated probabilities by label."""

    claim: ClaimedShadow
    probabilities: dict[str, float]


def complete_shadows(*, results: Sequence[ShadowResult], version: ModelVersion) -> None:
    """Write a challenger's results for images of the tenant in force; claims that were lost are left out."""
    points = thresholds_for(version, current_tenant_id())
    for result in results:
        thresholds = {label: points[label] for label in result.probabilities}
        if SHADOW_READINGS.complete(job=result.claim, probabilities=result.probabilities, thresholds=thresholds):
            SHADOWS.labels(JobState.COMPLETE).inc()


def refuse_shadow(*, claim: ClaimedShadow, code: str, reason: str) -> None:
    """End a held reading of the tenant in force: the challenger refuses an image that the serving version read."""
    for row in SHADOW_READINGS.held(claim):
        SHADOW_READINGS.reject(job=row, code=code, reason=reason)


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

"""What a worker does before and after it reads images: choose the image of each study, and store the results.

Where a tenant's AI is stopped, its jobs end without a reading, and each study gets a draft report without findings. The
stop is looked up before an image is decoded, and again in the transaction that would store the result.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from apps.audit.services import Actor
from apps.core.errors import ObjectLostError
from apps.core.transactions import again_after_deadlock
from apps.critical.notices import open_notices
from apps.deployment.stops import AI_STOPPED, Stops, stops_for
from apps.inference import services as inference
from apps.inference import shadows
from apps.inference.image_choice import candidate_images_in_tenant, choose_image
from apps.inference.leases import Claim, ClaimedJob, ClaimedShadow
from apps.inference.models import InferenceJob
from apps.inference.reader import ImageReading
from apps.inference.services import JobResult
from apps.inference.shadows import ShadowResult
from apps.registry import engine
from apps.registry.models import ModelVersion
from apps.reports.services import create_drafts
from apps.results.services import request_results
from apps.studies.models import Instance
from apps.studies.services import follow_read_instances
from apps.tenants.scope import tenant_tx


@dataclass(kw_only=True, eq=False)
class ClaimedReading(ImageReading):
    """The reading of a claimed job or shadow; ``instances`` are the images of the study from which it was chosen."""

    claim: Claim
    instances: Sequence[Instance] = ()


def choose_images(claims: Sequence[Claim]) -> list[ClaimedReading]:
    """Choose the image of each study by its attributes, in each tenant; for a shadow, the image of the job."""
    readings = []
    for tenant_id in dict.fromkeys(claim.tenant_id for claim in claims):
        own = [claim for claim in claims if claim.tenant_id == tenant_id]
        jobs = [claim for claim in own if isinstance(claim, ClaimedJob)]
        again = [claim for claim in own if isinstance(claim, ClaimedShadow)]
        if jobs and (stops := stops_for(tenant_id)).whole is not None:
            readings += [ClaimedReading(claim=job, refusal=_stopped(stops)) for job in jobs]
        elif jobs:
            images = candidate_images_in_tenant(tenant_id, [job.study_id for job in jobs])
            readings += [_chosen(job, images.get(job.study_id, [])) for job in jobs]
        if again:
            with tenant_tx(tenant_id):
                read = InferenceJob.objects.select_related("instance").in_bulk([shadow.job_id for shadow in again])
            readings += [_same_image(shadow, read.get(shadow.job_id)) for shadow in again]
    return readings


def _chosen(job: ClaimedJob, images: list[Instance]) -> ClaimedReading:
    choice = choose_image(images)
    reading = ClaimedReading(claim=job, instances=images, instance=choice.instance, refusal=choice.refusal)
    if choice.instance is not None:
        reading.stored_size = choice.instance.shape
    return reading


def _stopped(stops: Stops) -> "engine.InputCheckResult":
    return engine.InputCheckResult(False, AI_STOPPED, stops.detail)


def _same_image(shadow: ClaimedShadow, job: InferenceJob | None) -> ClaimedReading:
    """Take the image of the job; the job is missing where its study was deleted after the claim."""
    if job is None or job.instance is None:
        refusal = engine.InputCheckResult(False, "no-image", "The image that was read is no longer stored.")
        return ClaimedReading(claim=shadow, refusal=refusal)
    return ClaimedReading(claim=shadow, instance=job.instance, stored_size=job.instance.shape)


def probe_storage(reading: ClaimedReading) -> None:
    """Try again to fetch the stored image of a reading.

    Raises:
        UnavailableError: the storage still does not answer.
    """
    with contextlib.suppress(FileNotFoundError, ObjectLostError), reading.open_file():
        pass


def write_refusal(reading: ClaimedReading) -> None:
    """Store the refusal of an image, which users see."""
    again_after_deadlock(partial(_write_refusal, reading))


def _write_refusal(reading: ClaimedReading) -> None:
    assert reading.refusal is not None
    claim = reading.claim
    code = reading.refusal.reason or "refused"
    with tenant_tx(claim.tenant_id):
        if isinstance(claim, ClaimedShadow):
            shadows.refuse_shadow(claim=claim, code=code, reason=reading.refusal.detail)
        elif isinstance(claim, ClaimedJob):
            if code == AI_STOPPED:
                _end_stopped(claim, reading.refusal.detail)
                return
            job = inference.reject_job(
                job=claim,
                code=code,
                reason=reading.refusal.detail,
                instances_seen=len(reading.instances),
                instance=reading.instance,
                warnings=reading.warnings,
            )
            request_results(study_ids=[job.study_id] if job else [])


def _end_stopped(claim: ClaimedJob, detail: str) -> None:
    """End a job without a reading; the report of its study can be written and signed.

    No image is named, so that none counts as refused when the AI is started again.
    """
    job = inference.reject_job(job=claim, code=AI_STOPPED, reason=detail)
    if job is not None:
        create_drafts(jobs=[job])
        request_results(study_ids=[job.study_id])


def write_results(readings: Sequence[ClaimedReading], version: ModelVersion) -> None:
    """Store findings, heatmaps, drafts and notices of critical findings of one tenant's images, in one transaction.

    A shadow's result is stored only in its own row.
    """
    again_after_deadlock(partial(_write_results, readings, version))


def _write_results(readings: Sequence[ClaimedReading], version: ModelVersion) -> None:
    with tenant_tx(readings[0].claim.tenant_id):
        stops = stops_for(readings[0].claim.tenant_id)
        jobs = []
        for reading in readings:
            if isinstance(reading.claim, ClaimedJob) and stops.stop_all(reading.probabilities):
                _end_stopped(reading.claim, stops.detail)
            elif isinstance(reading.claim, ClaimedJob):
                jobs.append(_result(reading, reading.claim, stops))
        if jobs:
            complete = inference.complete_jobs(results=jobs, version=version)
            create_drafts(jobs=complete)
            open_notices(jobs=complete)
            request_results(study_ids=[job.study_id for job in complete])
            follow_read_instances(instance_ids=[job.instance.pk for job in jobs], by=Actor(name="worker"))
        again = [
            ShadowResult(reading.claim, reading.probabilities)
            for reading in readings
            if isinstance(reading.claim, ClaimedShadow) and reading.probabilities
        ]
        if again:
            shadows.complete_shadows(results=again, version=version)


def _result(reading: ClaimedReading, claim: ClaimedJob, stops: Stops) -> JobResult:
    assert reading.instance is not None
    assert reading.cams is not None
    return JobResult(
        job=claim,
        instance=reading.instance,
        instances_seen=len(reading.instances),
        probabilities=stops.leave_out(reading.probabilities),
        varied=reading.varied,
        cams=reading.cams,
        thorax=reading.thorax,
        picture=(reading.rows, reading.columns),
        warnings=[*reading.warnings, *([engine.ImageWarning(AI_STOPPED, stops.detail)] if stops.labels else [])],
    )

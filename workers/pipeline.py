"""The steps of reading a stored study: check attributes, decode, predict, check features, write, draft a report."""

import contextlib
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from apps.audit.services import Actor
from apps.core.errors import ObjectLostError
from apps.core.retry import outage_of
from apps.core.transactions import again_after_deadlock
from apps.inference import services as inference
from apps.inference import shadows
from apps.inference.image_choice import candidate_images_in_tenant, choose_image
from apps.inference.leases import Claim, ClaimedJob, ClaimedShadow
from apps.inference.models import InferenceJob
from apps.inference.services import JobResult
from apps.inference.shadows import ShadowResult
from apps.registry import engine
from apps.registry.models import ModelVersion
from apps.reports.services import create_drafts
from apps.studies.models import Instance
from apps.studies.services import follow_read_instances
from apps.studies.storage import local_path
from apps.tenants.scope import tenant_tx


@dataclass(frozen=True)
class Score:
    """The network's output for an image: probabilities by label, and class activation maps in logits."""

    probabilities: dict[str, float]
    cams: NDArray[np.float16]


@dataclass
class ImageReading:
    """The state of one job or shadow reading. It ends with a score, or with a refusal."""

    claim: Claim
    instances: list[Instance]
    instance: Instance | None = None
    refusal: engine.InputCheckResult | None = None
    loaded: engine.LoadedInput | None = None
    score: Score | None = None


def read_inputs(claims: Sequence[Claim]) -> list[ImageReading]:
    """Step 1, in each tenant: choose the image of the study by its attributes; for a shadow, the image of the job."""
    readings = []
    for tenant_id in dict.fromkeys(claim.tenant_id for claim in claims):
        own = [claim for claim in claims if claim.tenant_id == tenant_id]
        jobs = [claim for claim in own if isinstance(claim, ClaimedJob)]
        again = [claim for claim in own if isinstance(claim, ClaimedShadow)]
        if jobs:
            images = candidate_images_in_tenant(tenant_id, [job.study_id for job in jobs])
            readings += [_chosen(job, images.get(job.study_id, [])) for job in jobs]
        if again:
            with tenant_tx(tenant_id):
                read = InferenceJob.objects.select_related("instance").in_bulk([shadow.job_id for shadow in again])
            readings += [_same_image(ImageReading(shadow, []), read.get(shadow.job_id)) for shadow in again]
    return readings


def _chosen(job: ClaimedJob, images: list[Instance]) -> ImageReading:
    choice = choose_image(images)
    return ImageReading(job, images, choice.instance, choice.refusal)


def _same_image(reading: ImageReading, job: InferenceJob | None) -> ImageReading:
    """Take the image of the job; the job is missing where its study was deleted after the claim."""
    reading.instance = job.instance if job else None
    if reading.instance is None:
        reading.refusal = engine.InputCheckResult(False, "no-image", "The image that was read is no longer stored.")
    return reading


def start_decoding(
    reading: ImageReading, space: engine.InputSpace, sandbox: engine.Sandbox, copies: contextlib.ExitStack
) -> "Future[engine.LoadedInput] | None":
    """Step 2: decode the image to the input tensor in a sandboxed child; None where there is nothing to decode.

    Args:
        copies: keeps the local copy of the object where the storage is remote.
    """
    if reading.refusal is not None or reading.instance is None:
        return None
    try:
        path = copies.enter_context(local_path(reading.instance.object_key))
    except ObjectLostError as error:
        # Another attempt would not help: the sender must send the image again, and the study shows that.
        reading.refusal = engine.InputCheckResult(False, error.code, error.detail)
        return None
    # A missing file, a full disk, or any exception of the client of the object storage.
    except Exception as error:
        failed: Future[engine.LoadedInput] = Future()
        failed.set_exception(error)
        return failed
    return sandbox.submit(engine.load_input, path, space.to_dict(), [reading.instance.rows, reading.instance.columns])


def probe_storage(reading: ImageReading) -> None:
    """Try again to fetch the stored image of a reading.

    Raises:
        UnavailableError: the storage still does not answer.
    """
    assert reading.instance is not None
    with contextlib.suppress(FileNotFoundError, ObjectLostError), local_path(reading.instance.object_key):
        pass


class DecodingFailed(Exception):
    """Decoding failed because of the machine, not because of the image.

    Attributes:
        code: one of `apps.core.retry.FAILURES`.
        detail: the text that users see if this was the last attempt.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail


def finish_decoding(reading: ImageReading, decoding: "Future[engine.LoadedInput] | None") -> None:
    """Store the input tensor, or the refusal of the image, in the reading.

    Raises:
        DecodingFailed: the machine failed, so that there is neither.
    """
    try:
        if decoding is not None:
            reading.loaded = decoding.result()
    except engine.InputRejected as error:
        if error.code in engine.RETRYABLE:
            raise DecodingFailed(error.code, error.detail) from error
        reading.refusal = engine.InputCheckResult(False, error.code, error.detail)
    except Exception as error:
        detail = f"The stored image could not be read ({type(error).__name__})."
        raise DecodingFailed(outage_of(error) or "source-unreadable", detail) from error


def write_refusal(reading: ImageReading) -> None:
    """Step 4 for an image that must not be scored: store the refusal, which users see."""
    again_after_deadlock(partial(_write_refusal, reading))


def _write_refusal(reading: ImageReading) -> None:
    assert reading.refusal is not None
    claim = reading.claim
    code = reading.refusal.reason or "refused"
    with tenant_tx(claim.tenant_id):
        if isinstance(claim, ClaimedShadow):
            shadows.refuse_shadow(claim=claim, code=code, reason=reading.refusal.detail)
        elif isinstance(claim, ClaimedJob):
            inference.reject_job(
                job=claim,
                code=code,
                reason=reading.refusal.detail,
                instances_seen=len(reading.instances),
                instance=reading.instance,
                warnings=reading.loaded.warnings if reading.loaded else (),
            )


def write_results(readings: Sequence[ImageReading], version: ModelVersion) -> None:
    """Step 4 for images of one tenant that were scored: store findings, heatmaps and drafts, in one transaction.

    A shadow's result is stored only in its own row.
    """
    again_after_deadlock(partial(_write_results, readings, version))


def _write_results(readings: Sequence[ImageReading], version: ModelVersion) -> None:
    with tenant_tx(readings[0].claim.tenant_id):
        jobs = [_result(reading, reading.claim) for reading in readings if isinstance(reading.claim, ClaimedJob)]
        if jobs:
            create_drafts(jobs=inference.complete_jobs(results=jobs, version=version))
            follow_read_instances(instance_ids=[job.instance.pk for job in jobs], by=Actor(name="worker"))
        again = [
            ShadowResult(reading.claim, reading.score.probabilities)
            for reading in readings
            if isinstance(reading.claim, ClaimedShadow) and reading.score is not None
        ]
        if again:
            shadows.complete_shadows(results=again, version=version)


def _result(reading: ImageReading, claim: ClaimedJob) -> JobResult:
    assert reading.instance is not None
    assert reading.score is not None
    assert reading.loaded is not None
    return JobResult(
        job=claim,
        instance=reading.instance,
        instances_seen=len(reading.instances),
        probabilities=reading.score.probabilities,
        cams=reading.score.cams,
        picture=(reading.loaded.rows, reading.loaded.columns),
        warnings=reading.loaded.warnings,
    )

"""The order of the steps of a study's life, after it was stored: gate, decode, predict, gate again, write, report."""

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
    """What the network said of a film: probabilities by label, and class activation maps in logits."""

    probabilities: dict[str, float]
    cams: NDArray[np.float16]


@dataclass
class Reading:
    """One job, or one shadow reading, on its way. It ends with a score, or with the refusal of the study's films."""

    claim: Claim
    instances: list[Instance]
    instance: Instance | None = None
    refusal: engine.InputCheckResult | None = None
    film: engine.LoadedInput | None = None
    score: Score | None = None


def read_inputs(claims: Sequence[Claim]) -> list[Reading]:
    """Step 1, in each tenant: which film of the study to read, judged by its tags; for a shadow, the one that was."""
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
            readings += [_same_film(Reading(shadow, []), read.get(shadow.job_id)) for shadow in again]
    return readings


def _chosen(job: ClaimedJob, images: list[Instance]) -> Reading:
    choice = choose_image(images)
    return Reading(job, images, choice.instance, choice.refusal)


def _same_film(reading: Reading, job: InferenceJob | None) -> Reading:
    """The job is gone where its study was deleted after the claim."""
    reading.instance = job.instance if job else None
    if reading.instance is None:
        reading.refusal = engine.InputCheckResult(False, "no-image", "The film that was read is no longer there.")
    return reading


def start_decoding(
    reading: Reading, space: engine.InputSpace, sandbox: engine.Sandbox, copies: contextlib.ExitStack
) -> "Future[engine.LoadedInput] | None":
    """Step 2: decode and fit the film in a sandboxed child; None where there is nothing to decode.

    Where the storage is remote, ``copies`` holds the film's copy on this machine.
    """
    if reading.refusal is not None or reading.instance is None:
        return None
    try:
        path = copies.enter_context(local_path(reading.instance.object_key))
    except ObjectLostError as error:
        # No other attempt brings it back: its sender must, and the study says so.
        reading.refusal = engine.InputCheckResult(False, error.code, error.detail)
        return None
    # A missing file, a full disk, or whatever the client of the object storage raises.
    except Exception as error:
        failed: Future[engine.LoadedInput] = Future()
        failed.set_exception(error)
        return failed
    return sandbox.submit(engine.load_input, path, space.to_dict(), [reading.instance.rows, reading.instance.columns])


def probe_storage(reading: Reading) -> None:
    """Try again to fetch the stored image of a reading.

    Raises:
        UnavailableError: the storage is still away.
    """
    assert reading.instance is not None
    with contextlib.suppress(FileNotFoundError, ObjectLostError), local_path(reading.instance.object_key):
        pass


class DecodingFailed(Exception):
    """The machine failed and not the image.

    Attributes:
        code: one of `apps.core.retry.FAILURES`.
        detail: what the clinician reads if this was the last attempt.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail


def finish_decoding(reading: Reading, decoding: "Future[engine.LoadedInput] | None") -> None:
    """Take the input tensor, or the refusal of the image.

    Raises:
        DecodingFailed: there is neither.
    """
    try:
        if decoding is not None:
            reading.film = decoding.result()
    except engine.InputRejected as error:
        if error.code in engine.RETRYABLE:
            raise DecodingFailed(error.code, error.detail) from error
        reading.refusal = engine.InputCheckResult(False, error.code, error.detail)
    except Exception as error:
        detail = f"The stored image could not be read ({type(error).__name__})."
        raise DecodingFailed(outage_of(error) or "source-unreadable", detail) from error


def write_refusal(reading: Reading) -> None:
    """Step 4 for a film that is not to be scored: the refusal, which the clinician sees."""
    again_after_deadlock(partial(_write_refusal, reading))


def _write_refusal(reading: Reading) -> None:
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
                warnings=reading.film.warnings if reading.film else (),
            )


def write_results(readings: Sequence[Reading], version: ModelVersion) -> None:
    """Step 4 for films of one tenant that were scored: findings, heatmaps and drafts, in one transaction.

    A shadow's word goes into its own row, and no further.
    """
    again_after_deadlock(partial(_write_results, readings, version))


def _write_results(readings: Sequence[Reading], version: ModelVersion) -> None:
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


def _result(reading: Reading, claim: ClaimedJob) -> JobResult:
    assert reading.instance is not None
    assert reading.score is not None
    assert reading.film is not None
    return JobResult(
        job=claim,
        instance=reading.instance,
        instances_seen=len(reading.instances),
        probabilities=reading.score.probabilities,
        cams=reading.score.cams,
        picture=(reading.film.rows, reading.film.columns),
        warnings=reading.film.warnings,
    )

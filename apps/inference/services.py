"""Services for inference jobs: claim, complete, reject. A claim is across tenants, a result inside one."""

import datetime
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from types import MappingProxyType
from typing import Any, cast
from uuid import UUID

import numpy as np
from django.db import transaction
from django.db.models.functions import Now
from django.db.models.query import RawQuerySet
from numpy.typing import NDArray

from apps.core.identifiers import uuid7
from apps.core.metrics import JOBS
from apps.core.work_queue import JobState
from apps.deployment.models import canary_reads
from apps.deployment.selectors import recalibration_for, thresholds_for
from apps.inference.calls import AbnormalCall, Call, abnormal_call, calls, recalibrated
from apps.inference.events import publish_results
from apps.inference.fairness import remember_turns
from apps.inference.leases import READINGS, ClaimedJob
from apps.inference.models import InferenceJob, Worker
from apps.inference.requests import request_reading_if_due
from apps.inference.shadows import queue_shadows
from apps.registry import engine
from apps.registry.models import ModelVersion
from apps.routing.rule_selectors import intake_policy
from apps.studies.models import Instance
from apps.studies.selectors import studies_with_rejections
from apps.tenants.scope import current_tenant_id

# As `Queue.due`, for some tenants. The order is that of the index ``inference_job_waiting``.
_WAITING_IN_TURN = """
select id, tenant_id, study_id, priority, turn, fence, attempt from inference_inferencejob
 where state = 'queued' and is_suspect = %(suspect)s and (run_after is null or run_after <= now())
   and tenant_id <> all(%(absent)s::uuid[]) and (%(only)s::uuid[] is null or tenant_id = any(%(only)s::uuid[]))
 order by priority desc, turn, id limit %(limit)s for no key update skip locked
"""
NO_PINS: Mapping[UUID, None] = MappingProxyType({})
NO_CANARIES: Mapping[UUID | None, None] = MappingProxyType({})


@dataclass(frozen=True)
class Canary:
    """A challenger that reads a share of the studies in place of the serving version."""

    challenger_id: UUID
    percent: int
    version: ModelVersion


def claim_jobs(
    *,
    limit: int,
    version: ModelVersion | None,
    worker: str,
    pins: Mapping[UUID, ModelVersion | None] = NO_PINS,
    canaries: Mapping[UUID | None, Canary | None] = NO_CANARIES,
    suspect: bool = False,
) -> list[ClaimedJob]:
    """Claim up to ``limit`` waiting jobs for a worker, tenants in turns, and set the version that reads each.

    The commit does not wait for the disk: after a crash of the database a lost claim is a waiting job again, and the
    next claim has another fence.

    Args:
        version: the version for tenants without a pin; None where this worker cannot read their jobs now.
        pins: the version of each tenant with a pin; None where this worker cannot read its jobs now.
        canaries: the canary of each tenant with a challenger of its own, None where that is a shadow; the key None has
            the canary of all tenants with neither pin nor challenger. Only canaries that are loaded: patients do not
            wait for an experiment.
        suspect: claim only jobs whose worker died; the caller reads each of them alone.
    """
    with transaction.atomic(using="dispatch"):
        rows = list(waiting_in_turn(limit, version, pins, suspect=suspect))
        readers = {row.pk: _reader(row, version, pins, canaries) for row in rows}
        for reader in dict.fromkeys(readers.values()):
            own = [row for row in rows if readers[row.pk] == reader]
            READINGS.take(own, worker=worker, model_version_id=reader.pk)
        if rows:
            remember_turns({row.priority: row.turn for row in rows})
    return [ClaimedJob(row.pk, cast(UUID, row.tenant_id), row.fence, readers[row.pk].pk, row.study_id) for row in rows]


def waiting_in_turn(
    limit: int,
    version: ModelVersion | None,
    pins: Mapping[UUID, ModelVersion | None] = NO_PINS,
    *,
    suspect: bool = False,
) -> "RawQuerySet[InferenceJob]":
    """The jobs that may be claimed, the next one first, locked as they are read; see ``claim_jobs``."""
    absent = [tenant_id for tenant_id, pinned in pins.items() if pinned is None]
    only = None if version else [tenant_id for tenant_id, pinned in pins.items() if pinned is not None]
    return InferenceJob.objects.using("dispatch").raw(
        _WAITING_IN_TURN, {"absent": absent, "only": only, "limit": limit, "suspect": suspect}
    )


def _reader(
    job: InferenceJob,
    version: ModelVersion | None,
    pins: Mapping[UUID, ModelVersion | None],
    canaries: Mapping[UUID | None, Canary | None],
) -> ModelVersion:
    tenant_id = cast(UUID, job.tenant_id)
    canary = canaries.get(tenant_id if tenant_id in pins or tenant_id in canaries else None)
    if canary is not None and canary_reads(canary.challenger_id, canary.percent, job.study_id):
        return canary.version
    serving = pins.get(tenant_id, version)
    assert serving is not None
    return serving


@dataclass(frozen=True)
class JobResult:
    """The network's output for a job's image: probabilities by label, and class activation maps in logits.

    ``picture`` has the rows and columns of the displayed image; ``warnings`` are those of the decoding; ``varied`` are
    the probabilities of the image mirrored and zoomed, where they were computed; ``thorax`` is where the network's
    input shows the thorax, as in ``engine.LoadedInput``.
    """

    job: ClaimedJob
    instance: Instance
    instances_seen: int
    probabilities: dict[str, float]
    cams: NDArray[np.float16]
    picture: tuple[int, int] | None = None
    warnings: Sequence[engine.ImageWarning] = ()
    varied: Sequence[Mapping[str, float]] = ()
    thorax: NDArray[np.uint8] | None = None

    def planes(self) -> NDArray[np.float16]:
        """The maps as ``HeatmapGrids`` stores them, with the plane of the thorax where it is known."""
        if self.thorax is None:
            return self.cams
        return np.concatenate([self.cams, engine.share_inside(self.thorax, self.cams.shape[1:])[None]])


_COMPLETE = """
select id, study_id, priority, model_version_id, has_unseen,
       exists (select from registry_challenger where ended is null) as is_challenged
  from inference_complete_jobs(%s, %s, %s::bytea[])
"""


def complete_jobs(*, results: Sequence[JobResult], version: ModelVersion) -> list[InferenceJob]:
    """Write findings and heatmaps of held jobs of the tenant in force, all or nothing.

    One round trip: see ``inference/migrations/0012_uncertain_and_abnormal.py``.

    Returns:
        The jobs that are complete now. A job whose claim was lost is not among them: another worker completes it.
    """
    points = thresholds_for(version, current_tenant_id())
    margins, score = version.margins, version.abnormal_score
    recalibration = recalibration_for(version, current_tenant_id())
    called = [recalibrated(calls(each.probabilities, points, margins, each.varied), recalibration) for each in results]
    findings = [_findings(result, each) for result, each in zip(results, called, strict=True)]
    scores = [abnormal_call(result.probabilities, score) for result in results]
    rows = [_row(place, *each) for place, each in enumerate(zip(results, findings, scores, strict=True), start=1)]
    grids = [result.planes().astype("<f2").tobytes() for result in results]
    arguments = [json.dumps(rows, default=str), json.dumps(list(chain.from_iterable(findings)), default=str), grids]
    jobs: list[Any] = list(InferenceJob.objects.raw(_COMPLETE, arguments))
    if recalibration is not None:
        InferenceJob.objects.filter(pk__in=[job.pk for job in jobs]).update(recalibration=recalibration)
    # Read after the studies were locked: a concurrent rejection is either seen here, or sees that the job has ended.
    rejected = set(studies_with_rejections([job.study_id for job in jobs]))
    for job in jobs:
        job.state = JobState.COMPLETE
        JOBS.labels(JobState.COMPLETE).inc()
        if job.has_unseen or job.study_id in rejected:
            # Of a late image, more may follow; a decision about images is final.
            quiet = intake_policy().quiet_time if job.has_unseen else None
            request_reading_if_due(study_id=job.study_id, priority=job.priority, quiet=quiet)
    publish_results(jobs, version)
    if any(job.is_challenged for job in jobs):
        queue_shadows(jobs=jobs)
    return jobs


def _findings(result: JobResult, called: Sequence[Call]) -> list[dict[str, Any]]:
    return [{"id": uuid7(), "job": result.job.id, **vars(call)} for call in called]


def _row(
    place: int, result: JobResult, findings: Sequence[Mapping[str, Any]], abnormal: AbnormalCall | None
) -> dict[str, object]:
    """The argument of ``inference_complete_jobs`` for one result; ``place`` is the position of its grids, from one."""
    flagged = [finding for finding in findings if finding["positive"]]
    with_threshold = [finding for finding in findings if finding["threshold"] is not None]
    top = max(flagged or with_threshold or findings, key=lambda finding: finding["probability"])
    _, grid_rows, grid_columns = result.cams.shape
    picture_rows, picture_columns = result.picture or (None, None)
    return {
        "job": result.job.id,
        "fence": result.job.fence,
        "instance": result.instance.pk,
        "instances_seen": result.instances_seen,
        "top_label": top["label"],
        "top_probability": top["probability"],
        "positive_count": len(flagged),
        "abnormal_probability": abnormal.probability if abnormal else None,
        "abnormal_threshold": abnormal.threshold if abnormal else None,
        "heatmaps": uuid7(),
        "place": place,
        "grid_rows": grid_rows,
        "grid_columns": grid_columns,
        "picture_rows": picture_rows,
        "picture_columns": picture_columns,
        "warnings": _stored(result.warnings),
    }


def _stored(warnings: Sequence[engine.ImageWarning]) -> list[dict[str, str]]:
    return [{"code": warning.code, "detail": warning.detail} for warning in warnings]


def reject_job(
    *,
    job: ClaimedJob,
    code: str,
    reason: str,
    instances_seen: int | None = None,
    instance: Instance | None = None,
    warnings: Sequence[engine.ImageWarning] = (),
) -> InferenceJob | None:
    """End a held job with a reason that users see: the model must not score the image.

    Args:
        instances_seen: how many images the study had when one was chosen; None where none was to be chosen.

    Returns:
        The job; None where the claim was lost.
    """
    held = READINGS.held(job).select_for_update(no_key=True, of=("self", "study")).select_related("study")
    row = held.first()
    if row is None:
        return None
    READINGS.reject(job=row, code=code, reason=reason, instance=instance, warnings=_stored(warnings))
    row.state, row.reason_code, row.reason = JobState.REJECTED, code, reason
    publish_results([row])
    has_more = (
        instances_seen is not None and Instance.objects.filter(series__study=row.study_id).count() != instances_seen
    )
    if instance is not None or has_more:
        quiet = intake_policy().quiet_time if has_more else None
        request_reading_if_due(study_id=row.study_id, priority=row.priority, quiet=quiet)
    return row


def delete_silent_workers() -> None:
    """Delete the rows of workers that have not reported for a day."""
    Worker.objects.filter(last_seen__lt=Now() - datetime.timedelta(days=1)).delete()

"""A version's results on the latest studies of the tenant in force."""

import datetime
from dataclasses import dataclass
from uuid import UUID

from apps.core.work_queue import JobState
from apps.inference.models import Finding, InferenceJob
from apps.registry.models import ModelVersion
from apps.studies.models import Instance


@dataclass(frozen=True)
class RecentReading:
    """The latest reading of one study by this version: calibrated probabilities and finding ids by label.

    The probabilities are the version's own, without the recalibration that was in force for the tenant.
    """

    study_id: UUID
    instance: Instance
    finished: datetime.datetime
    probabilities: dict[str, float]
    finding_ids: dict[str, UUID]


def recent_readings(*, version: ModelVersion, last: int) -> list[RecentReading]:
    """The latest studies that this version read, newest first, each once."""
    jobs = (
        InferenceJob.objects.filter(state=JobState.COMPLETE, model_version=version, instance__isnull=False)
        .select_related("instance", "recalibration")
        .order_by("-id")
    )
    newest: dict[UUID, InferenceJob] = {}
    # One study may have several jobs, so read twice as many.
    for job in jobs[: 2 * last]:
        newest.setdefault(job.study_id, job)
    chosen = list(newest.values())[:last]
    values: dict[UUID, dict[str, tuple[float, UUID]]] = {job.pk: {} for job in chosen}
    recalibrations = {job.pk: job.recalibration for job in chosen}
    for pk, job_id, label, probability in Finding.objects.filter(job__in=chosen).values_list(
        "pk", "job_id", "label", "probability"
    ):
        used = recalibrations[job_id]
        values[job_id][label] = (used.of_version(label, probability) if used else probability, pk)
    return [
        RecentReading(
            study_id=job.study_id,
            instance=job.instance,
            finished=job.finished or job.created,
            probabilities={label: probability for label, (probability, _) in values[job.pk].items()},
            finding_ids={label: pk for label, (_, pk) in values[job.pk].items()},
        )
        for job in chosen
        if job.instance is not None
    ]

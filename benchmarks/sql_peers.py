"""ORM code that does what the three SQL functions do, for `benchmarks.sql_functions`."""

from collections.abc import Sequence
from typing import Any

from django.db.models import Count, Func, Value
from django.db.models.functions import Now

from apps.audit.models import AuditEvent
from apps.audit.services import Actor, record
from apps.core.errors import ConflictError
from apps.core.wake_up import WakeUp, wake_after_commit
from apps.core.work_queue import OPEN_STATES, JobState
from apps.deployment.models import Challenger
from apps.deployment.selectors import thresholds_for
from apps.inference.models import Finding, HeatmapGrids, InferenceJob
from apps.inference.services import JobResult
from apps.registry.models import ModelVersion
from apps.studies import attributes as columns
from apps.studies.conflicts import review_instance
from apps.studies.identity import differ, is_placeholder, placeholder_key
from apps.studies.models import DemographicsConflict, Instance, Patient, PlaceholderPatientID, Series, Study
from apps.studies.selectors import studies_with_rejections
from apps.studies.services import DUPLICATE, StoredInstance
from apps.studies.spool import SpooledFile
from apps.tenants.scope import current_tenant_id


def store_instance(*, spooled: SpooledFile, found: columns.InspectedInstance, by: Actor) -> StoredInstance:
    """As `apps.studies.services.store_instance`."""
    study = Study.objects.select_for_update(no_key=True).filter(study_instance_uid=found.study_instance_uid).first()
    stored = Instance.objects.filter(sop_instance_uid=found.sop_instance_uid)
    known = stored.values_list("sha256", "series__study_id").first()
    if known is not None and known[0] != spooled.sha256:
        raise ConflictError("This SOPInstanceUID is stored with other content.", DUPLICATE)
    if known is not None:
        return StoredInstance(known[1], is_new=False, in_conflict=_in_conflict(study))
    identity = columns.patient_identity(found.attributes)
    demographics = columns.demographics_fields(found.attributes)
    if study is None:
        study, needs_review = _new_study(found, identity, demographics)
    else:
        needs_review = _contradicts(study, identity, demographics)
    in_conflict = _in_conflict(study)
    series = Series.objects.filter(study=study, series_instance_uid=found.series_instance_uid).first()
    if series is None:
        series = Series.objects.create(
            study=study, series_instance_uid=found.series_instance_uid, **columns.series_fields(found.attributes)
        )
    instance = Instance.objects.create(
        series=series,
        sop_instance_uid=found.sop_instance_uid,
        sha256=spooled.sha256,
        size=spooled.size,
        **identity,
        **demographics,
        **columns.instance_fields(found),
    )
    record(action=AuditEvent.Action.INSTANCE_STORED, by=by, object_id=instance.pk)
    if needs_review:
        in_conflict = review_instance(instance_id=instance.pk, by=by)
    return StoredInstance(study.pk, is_new=True, in_conflict=in_conflict, is_withdrawn=study.withdrawn is not None)


def _is_identified(patient_id: str) -> bool:
    if is_placeholder(patient_id):
        return False
    return not PlaceholderPatientID.objects.filter(key=placeholder_key(patient_id)).exists()


def _new_study(
    found: columns.InspectedInstance, identity: dict[str, str], demographics: dict[str, Any]
) -> tuple[Study, bool]:
    """The study of an instance that is the first of its study, and whether it contradicts others of its patient."""
    is_identified = _is_identified(identity["patient_id"])
    same = Patient.objects.filter(**identity, is_identified=True).order_by("person_number")
    patient = same.select_for_update(no_key=True).first() if is_identified else None
    needs_review = False
    if patient is None:
        patient = Patient.objects.create(**identity, is_identified=is_identified)
    else:
        keys = Study.objects.filter(patient=patient, withdrawn=None).values_list("demographics_key", flat=True)
        needs_review = same.count() > 1 or any(differ(key or [], demographics["demographics_key"]) for key in keys)
    study = Study.objects.create(
        patient=patient,
        study_instance_uid=found.study_instance_uid,
        **demographics,
        **columns.study_fields(found.attributes),
    )
    return study, needs_review


def _contradicts(study: Study, identity: dict[str, str], demographics: dict[str, Any]) -> bool:
    if study.demographics_key and differ(study.demographics_key, demographics["demographics_key"]):
        return True
    patient = Patient.objects.get(pk=study.patient_id)
    stated = (identity["patient_id"], identity["issuer_of_patient_id"])
    is_same = patient.is_identified and (patient.patient_id, patient.issuer_of_patient_id) == stated
    return not is_same and _is_identified(identity["patient_id"])


def _in_conflict(study: Study | None) -> bool:
    if study is None:
        return False
    conflicts = DemographicsConflict.objects.filter(settled=None)
    return conflicts.filter(study=study).exists() or conflicts.filter(patient=study.patient_id).exists()


def queue_new_image(*, study_id: Any, priority: int) -> bool:
    """As `apps.inference.requests.request_reading_of_new_image` does for a study that was not read before."""
    jobs = InferenceJob.objects.filter(study=study_id)
    if jobs.filter(state__in=[JobState.COMPLETE, JobState.REJECTED]).exists():
        return False
    turn = Func(Value(priority), function="inference_next_turn", template="%(function)s(%(expressions)s::smallint)")
    if jobs.filter(state__in=OPEN_STATES).exists():
        jobs.filter(state=JobState.QUEUED, priority__lt=priority).update(priority=priority, turn=turn)
    else:
        InferenceJob.objects.create(study_id=study_id, priority=priority, turn=turn)
    wake_after_commit(WakeUp.INFER)
    return True


def complete_jobs(*, results: Sequence[JobResult], version: ModelVersion) -> list[InferenceJob]:
    """As `apps.inference.services.complete_jobs`, where no image was rejected and no challenger runs."""
    points = thresholds_for(version, current_tenant_id())
    by_job = {result.job.id: result for result in results}
    held = InferenceJob.objects.select_for_update(no_key=True, of=("self", "study")).select_related("study")
    held = held.filter(pk__in=by_job, state=JobState.RUNNING).order_by("study__study_instance_uid")
    jobs = [job for job in held if job.fence == by_job[job.pk].job.fence]
    findings = []
    for job in jobs:
        own = [
            Finding(
                job=job,
                label=label,
                probability=probability,
                threshold=(threshold := points[label]),
                positive=threshold is not None and probability >= threshold,
            )
            for label, probability in by_job[job.pk].probabilities.items()
        ]
        _end(job, by_job[job.pk], own)
        findings += own
    Finding.objects.bulk_create(findings)
    HeatmapGrids.objects.bulk_create([_grids(job, by_job[job.pk]) for job in jobs])
    seen = Instance.objects.filter(series__study__in=[job.study_id for job in jobs]).values_list("series__study")
    counts = dict(seen.annotate(Count("pk")))
    rejected = studies_with_rejections([job.study_id for job in jobs])
    challenged = Challenger.objects.filter(ended=None).exists()
    assert not rejected
    assert not challenged
    assert all(counts[job.study_id] == by_job[job.pk].instances_seen for job in jobs)
    return jobs


def _end(job: InferenceJob, result: JobResult, findings: Sequence[Finding]) -> None:
    flagged = [finding for finding in findings if finding.positive]
    with_threshold = [finding for finding in findings if finding.threshold is not None]
    top = max(flagged or with_threshold or findings, key=lambda finding: finding.probability)
    job.state, job.lease_until, job.finished = JobState.COMPLETE, None, Now()
    job.instance = result.instance
    job.top_label, job.top_probability, job.positive_count = top.label, top.probability, len(flagged)
    job.picture_rows, job.picture_columns = result.picture or (None, None)
    job.warnings = [{"code": warning.code, "detail": warning.detail} for warning in result.warnings]
    job.save()


def _grids(job: InferenceJob, result: JobResult) -> HeatmapGrids:
    _, rows, width = result.cams.shape
    return HeatmapGrids(job=job, data=result.cams.astype("<f2").tobytes(), grid_rows=rows, grid_columns=width)

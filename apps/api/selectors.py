"""The results of studies for the API: status, findings, patient, and the URLs of reports and heatmaps."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from django.conf import settings
from django.urls import reverse

from apps.core.work_queue import JobState
from apps.deployment.stops import AI_STOPPED
from apps.inference.calls import AbnormalCall, localisation_text
from apps.inference.models import InferenceJob
from apps.inference.selectors import RECEIVED
from apps.inference.warnings import CodedWarning, warnings_of
from apps.reports.status import ReportState, report_states
from apps.studies.models import Study


@dataclass(frozen=True)
class FindingResult:
    label: str
    probability: float
    threshold: float | None
    positive: bool
    uncertain: bool
    localisation: str
    heatmap_url: str


@dataclass(frozen=True)
class PatientResult:
    name: str | None
    patient_id: str
    issuer: str
    birth_date: datetime.date | None
    sex: str | None


@dataclass(frozen=True)
class FormerReport:
    """A signed version of a report that was amended since."""

    url: str
    signed: datetime.datetime | None


@dataclass(frozen=True)
class StudyResult:
    study_instance_uid: str
    status: str
    patient: PatientResult
    demographics_conflict: bool
    accession_number: str
    study_date: datetime.date | None
    read_instance_uid: str | None = None
    reason: str | None = None
    reason_code: str | None = None
    model_version: str | None = None
    abnormal: AbnormalCall | None = None
    findings: list[FindingResult] = field(default_factory=list)
    report_url: str | None = None
    report_status: str | None = None
    former_reports: list[FormerReport] = field(default_factory=list)
    new_images_since_report: bool = False
    report_image_rejected: bool = False
    warnings: list[CodedWarning] = field(default_factory=list)
    intended_use: str = field(default_factory=lambda: settings.INTENDED_USE_NOTICE)


def study_results(studies: Sequence[Study]) -> list[StudyResult]:
    """The results of several studies, in their order, with a fixed number of queries."""
    ids = [study.pk for study in studies]
    jobs = _latest_jobs(ids)
    reports = report_states(ids, [job.pk for job in jobs.values()])
    return [_result(study, jobs.get(study.pk), reports.get(study.pk, ReportState())) for study in studies]


def _patient(study: Study) -> PatientResult:
    """The demographics that this study's own images state; null where they are not known yet."""
    is_filled = study.is_filled
    return PatientResult(
        name=study.patient_name if is_filled else None,
        patient_id=study.patient.patient_id,
        issuer=study.patient.issuer_of_patient_id,
        birth_date=study.patient_birth_date,
        sex=study.patient_sex if is_filled else None,
    )


def _latest_jobs(study_ids: Sequence[UUID]) -> dict[UUID, InferenceJob]:
    latest = (
        InferenceJob.objects.filter(study_id__in=study_ids)
        .order_by("study_id", "-id")
        .distinct("study_id")
        # The manifest of a version is large and not needed here.
        .select_related("model_version", "instance")
        .defer("model_version__manifest")
        .prefetch_related("findings")
    )
    return {job.study_id: job for job in latest}


def _read_instance(job: InferenceJob | None) -> str | None:
    """The SOPInstanceUID of the image that was read."""
    if job is None or job.state != JobState.COMPLETE or job.instance is None:
        return None
    return job.instance.sop_instance_uid


def _reader(job: InferenceJob | None) -> str | None:
    """The version that the job is for; None where the AI was stopped, because then none has read."""
    if job is None or job.model_version is None or job.reason_code == AI_STOPPED:
        return None
    return str(job.model_version)


def _result(study: Study, job: InferenceJob | None, report: ReportState) -> StudyResult:
    uid = study.study_instance_uid
    localised = job.model_version.localised if job and job.model_version else []
    return StudyResult(
        study_instance_uid=uid,
        status=job.state if job else RECEIVED,
        patient=_patient(study),
        demographics_conflict=study.demographics_conflict,  # type: ignore[attr-defined]
        accession_number=study.accession_number,
        study_date=study.study_date,
        read_instance_uid=_read_instance(job),
        reason=(job.reason or None) if job else None,
        reason_code=(job.reason_code or None) if job else None,
        model_version=_reader(job),
        abnormal=job.abnormal if job else None,
        findings=[
            FindingResult(
                label=finding.label,
                probability=finding.probability,
                threshold=finding.threshold,
                positive=finding.positive,
                uncertain=finding.uncertain,
                localisation=localisation_text(finding.label in localised),
                heatmap_url=reverse("api:heatmap", kwargs={"study_instance_uid": uid, "label": finding.label}),
            )
            for finding in (job.findings.all() if job else ())
        ],
        warnings=warnings_of(study=study, job=job),
        report_url=reverse("api:report", kwargs={"study_instance_uid": uid}) if report.status else None,
        report_status=report.status,
        former_reports=[
            FormerReport(
                reverse("api:report-version", kwargs={"study_instance_uid": uid, "number": each.number}), each.signed_at
            )
            for each in report.former
        ],
        new_images_since_report=report.new_images,
        report_image_rejected=report.image_rejected,
    )

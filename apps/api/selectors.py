"""The results of studies for the API: status, findings, patient, and the URLs of reports and heatmaps."""

import datetime
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.conf import settings
from django.urls import reverse

from apps.core.work_queue import JobState
from apps.deployment.stops import AI_STOPPED
from apps.inference.calls import AbnormalCall, localisation_text
from apps.inference.models import Finding, InferenceJob
from apps.inference.selectors import RECEIVED, latest_jobs
from apps.inference.warnings import CodedWarning, warnings_of
from apps.reports.status import ReportState, report_states
from apps.studies.models import Study
from apps.studies.selectors import modalities_of

_ANY_LABEL = "LABEL"


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
    modalities: list[str]
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
    jobs = latest_jobs(ids, with_findings=False)
    findings = _findings([job.pk for job in jobs.values()])
    reports = report_states(ids, [job.pk for job in jobs.values()])
    modalities = modalities_of(ids)
    results = []
    for study in studies:
        job, report = jobs.get(study.pk), reports.get(study.pk, ReportState())
        found = findings.get(job.pk, []) if job else []
        results.append(_result(study, job, found, report, modalities.get(study.pk, [])))
    return results


def _findings(job_ids: Sequence[UUID]) -> dict[UUID, list[dict[str, Any]]]:
    """The columns of the findings by job: a page has thousands, and objects would take most of its time."""
    found = defaultdict(list)
    columns = ("job_id", "label", "probability", "threshold", "positive", "uncertain")
    for row in Finding.objects.filter(job__in=job_ids).values(*columns):
        found[row.pop("job_id")].append(row)
    return found


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


def _result(
    study: Study,
    job: InferenceJob | None,
    findings: Sequence[dict[str, Any]],
    report: ReportState,
    modalities: list[str],
) -> StudyResult:
    uid = study.study_instance_uid
    localised = job.model_version.localised if job and job.model_version else []
    # Once for all findings: a page has thousands of them.
    heatmap_url = reverse("api:heatmap", kwargs={"study_instance_uid": uid, "label": _ANY_LABEL})
    return StudyResult(
        study_instance_uid=uid,
        status=job.state if job else RECEIVED,
        patient=_patient(study),
        demographics_conflict=study.demographics_conflict,  # type: ignore[attr-defined]
        accession_number=study.accession_number,
        study_date=study.study_date,
        modalities=modalities,
        read_instance_uid=_read_instance(job),
        reason=(job.reason or None) if job else None,
        reason_code=(job.reason_code or None) if job else None,
        model_version=_reader(job),
        abnormal=job.abnormal if job else None,
        findings=[
            FindingResult(
                **row,
                localisation=localisation_text(row["label"] in localised),
                heatmap_url=heatmap_url.replace(_ANY_LABEL, row["label"]),
            )
            for row in findings
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

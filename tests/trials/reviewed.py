"""Many read studies at once, as rows: for figures over hundreds of studies, where no image is looked at."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from django.utils import timezone

from apps.core.work_queue import JobState
from apps.inference.models import Finding, InferenceJob
from apps.registry.models import ModelVersion
from apps.reports.models import FindingReview, Report, Verdict
from apps.studies.models import Instance, Patient, Series, Study
from apps.tenants.scope import tenant_tx
from tests.conftest import Hospital


def read_studies_as_rows(
    hospital: Hospital,
    version: ModelVersion,
    probabilities: Sequence[Mapping[str, float]],
    *,
    finished: Sequence[datetime] | None = None,
    views: Sequence[str] | None = None,
    name: str = "s",
) -> list[InferenceJob]:
    """Store one complete study for each item, flagged at the version's own thresholds."""
    count = len(probabilities)
    times, shown = finished or [timezone.now()] * count, views or ["PA"] * count
    with tenant_tx(hospital.tenant.pk):
        patients = Patient.objects.bulk_create(Patient(patient_id=f"{name}{n}") for n in range(count))
        studies = Study.objects.bulk_create(
            Study(patient=patient, study_instance_uid=f"1.2.{name}.{n}", demographics_key=[])
            for n, patient in enumerate(patients)
        )
        series = Series.objects.bulk_create(Series(study=s, series_instance_uid="1.2.3") for s in studies)
        instances = Instance.objects.bulk_create(
            Instance(
                series=s, sop_instance_uid=f"1.2.{name}.{n}.1", sop_class_uid="1", transfer_syntax_uid="1",
                rows=256, columns=256, view_position=view, sha256="0" * 64, size=1,
            )
            for n, (s, view) in enumerate(zip(series, shown, strict=True))
        )  # fmt: skip
        jobs = InferenceJob.objects.bulk_create(
            InferenceJob(
                study=study, instance=instance, model_version=version, state=JobState.COMPLETE, finished=time,
                top_label=max(values, key=lambda label: values[label]), top_probability=max(values.values()),
            )
            for study, instance, time, values in zip(studies, instances, times, probabilities, strict=True)
        )  # fmt: skip
        findings = []
        for job, values in zip(jobs, probabilities, strict=True):
            for label, value in values.items():
                point = version.thresholds[label]
                threshold = point["value"] if point else None
                findings.append(
                    Finding(
                        job=job, label=label, probability=value, threshold=threshold,
                        positive=threshold is not None and value >= threshold,
                    )
                )  # fmt: skip
        Finding.objects.bulk_create(findings)
    return jobs


def sign_with_verdicts(hospital: Hospital, jobs: Sequence[InferenceJob], present: Sequence[Mapping[str, bool]]) -> None:
    """Sign the reports of these studies, with a verdict on each finding whose truth is given."""
    with tenant_tx(hospital.tenant.pk):
        rows: dict[Any, dict[str, Finding]] = {}
        for finding in Finding.objects.filter(job__in=jobs):
            rows.setdefault(finding.job_id, {})[finding.label] = finding
        FindingReview.objects.bulk_create(
            FindingReview(
                finding=rows[job.pk][label],
                verdict=Verdict.AGREE if rows[job.pk][label].positive == is_there else Verdict.DISAGREE,
                reader=hospital.radiologist,
            )
            for job, truth in zip(jobs, present, strict=True)
            for label, is_there in truth.items()
        )
        Report.objects.bulk_create(
            Report(
                study_id=job.study_id, job=job, signed_by=hospital.radiologist, signed_at=timezone.now(),
                pdf_sha256="0" * 64,
                verdicts={
                    label: Verdict.AGREE if rows[job.pk][label].positive == is_there else Verdict.DISAGREE
                    for label, is_there in truth.items()
                },
            )
            for job, truth in zip(jobs, present, strict=True)
        )  # fmt: skip

"""Studies that a serving version and its shadow have both read, many at once and without their films."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.utils import timezone

from apps.core.work_queue import JobState
from apps.deployment.models import Challenger
from apps.deployment.selectors import thresholds_for
from apps.inference.models import Finding, InferenceJob, ShadowReading
from apps.reports.models import FindingReview
from apps.studies.models import Patient, Study
from apps.tenants.scope import tenant_tx
from ml.labels import LABELS
from tests.conftest import Hospital

Probabilities = Mapping[str, float]


def read_by_both(
    hospital: Hospital, trial: Challenger, pairs: Sequence[tuple[Probabilities, Probabilities]]
) -> list[Study]:
    """Store complete pairs; a missing probability is 0.1 for the serving version and 0.05 for the challenger."""
    tenant_id = hospital.tenant.id
    with tenant_tx(tenant_id):
        patient, _ = Patient.objects.get_or_create(patient_id="CANARY-1")
        first = Study.objects.count()
        studies = Study.objects.bulk_create(
            Study(patient=patient, patient_name="CANARY^JANE", study_instance_uid=f"1.2.826.{first + number}")
            for number in range(len(pairs))
        )
        jobs = InferenceJob.objects.bulk_create(
            InferenceJob(
                study=study,
                state=JobState.COMPLETE,
                model_version=trial.against,
                finished=timezone.now(),
                top_label="Mass",
                top_probability=serving.get("Mass", 0.1),
            )
            for study, (serving, _) in zip(studies, pairs, strict=True)
        )
        served, tried = (thresholds_for(each, tenant_id) for each in (trial.against, trial.model_version))
        Finding.objects.bulk_create(
            _finding(job, label, serving.get(label, 0.1), served[label])
            for job, (serving, _) in zip(jobs, pairs, strict=True)
            for label in LABELS
        )
        ShadowReading.objects.bulk_create(
            ShadowReading(
                job=job,
                challenger=trial,
                state=JobState.COMPLETE,
                probabilities={label: challenger.get(label, 0.05) for label in LABELS},
                thresholds=dict(tried),
            )
            for job, (_, challenger) in zip(jobs, pairs, strict=True)
        )
    return studies


def _finding(job: InferenceJob, label: str, probability: float, threshold: float | None) -> Finding:
    positive = threshold is not None and probability >= threshold
    return Finding(job=job, label=label, probability=probability, threshold=threshold, positive=positive)


def review(hospital: Hospital, study: Any, label: str, verdict: str) -> None:
    """Store a reader's verdict on a finding of the serving version."""
    with tenant_tx(hospital.tenant.id):
        finding = Finding.objects.get(job__study=study, label=label)
        FindingReview.objects.create(finding=finding, verdict=verdict, reader=hospital.radiologist)

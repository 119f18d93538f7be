"""Collects what the objects of a study's readings and signed report say."""

import re
import zoneinfo
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from django.conf import settings

from apps.core.work_queue import JobState
from apps.deployment.stops import AI_STOPPED
from apps.inference.models import Finding, InferenceJob
from apps.inference.selectors import Heatmap
from apps.inference.warnings import warnings_of
from apps.reading.selectors import reading_policy
from apps.registry import engine
from apps.reports.models import Report
from apps.reports.selectors import addenda_of, heatmaps_of, report_of
from apps.results.objects.content import (
    PRODUCT,
    PRODUCT_DEVICE_UID,
    AddedFinding,
    Algorithm,
    CalledFinding,
    ResultContent,
    Signature,
    SourceImage,
)
from apps.studies.models import Instance, Study
from apps.studies.selectors import instances_of


@dataclass(frozen=True, eq=False)
class ReadingResult:
    """One reading of a study with all that its objects need.

    Attributes:
        job: None where a report was signed on a study that was never read.
        heatmaps: of flagged findings whose maps are validated as a localisation, the most probable first.
    """

    content: ResultContent
    study_id: UUID
    job: InferenceJob | None
    report: Report | None
    heatmaps: Mapping[str, Heatmap]

    @property
    def reading_id(self) -> UUID:
        """What its UIDs are derived from."""
        return self.job.pk if self.job else self.study_id

    @property
    def read_image(self) -> Instance | None:
        """The image that the result can be drawn on; None where there is no result."""
        return self.job.instance if self.job and self.job.state == JobState.COMPLETE else None


def results_of(study_id: UUID) -> list[ReadingResult]:
    """The latest reading that ended with a result or a refusal, and the reading of the signed report, if another.

    Empty for a withdrawn study, and for one that is gone.
    """
    study = Study.objects.select_related("patient", "tenant").filter(pk=study_id, withdrawn__isnull=True).first()
    if study is None:
        return []
    report, latest = report_of(study), _latest_result(study)
    is_about_latest = report is not None and latest is not None and report.job_id == latest.pk
    found = [] if latest is None else [_result(study, latest, report if is_about_latest else None)]
    if report is not None and not is_about_latest:
        found.append(_result(study, report.job, report))
    return found


def _latest_result(study: Study) -> InferenceJob | None:
    ended = InferenceJob.objects.filter(study=study, state__in=[JobState.COMPLETE, JobState.REJECTED])
    with_related = ended.select_related("model_version", "instance__series", "recalibration")
    return with_related.prefetch_related("findings").order_by("-id").first()


def _result(study: Study, job: InferenceJob | None, report: Report | None) -> ReadingResult:
    zone = zoneinfo.ZoneInfo(reading_policy().time_zone)
    ended = job.finished if job else None
    at = ended or (report.signed_at if report else None) or study.received
    warnings = warnings_of(study=study, job=job)
    heatmaps = _heatmaps(job) if job else {}
    source = _source((job.instance if job else None) or _any_image(study))
    content = ResultContent(
        patient_study=patient_study_of(study),
        reading=f"{study.tenant_id}/{job.pk if job else study.pk}",
        source=source,
        algorithm=_algorithm(job),
        at=at.astimezone(zone).replace(microsecond=0),
        findings=_findings(job, report, heatmaps) if job else (),
        probability_any=job.abnormal_probability if job else None,
        threshold_any=job.abnormal_threshold if job else None,
        refusal=_refusal(job),
        remarks=tuple(warned.detail for warned in warnings),
        is_partial=any(warned.code == AI_STOPPED for warned in warnings),
        signature=_signature(study, report, zone),
        manufacturer=(settings.MANUFACTURER_NAME or PRODUCT)[:64],
        notice=settings.INTENDED_USE_NOTICE,
        is_recalibrated=bool(job and job.recalibration and job.recalibration.fits),
    )
    return ReadingResult(content, study.pk, job, report, heatmaps)


def _in_order(job: InferenceJob) -> list[Finding]:
    return sorted(job.findings.all(), key=lambda finding: (not finding.positive, -finding.probability))


def _heatmaps(job: InferenceJob) -> Mapping[str, Heatmap]:
    localised = job.model_version.localised if job.model_version else []
    shown = [finding for finding in _in_order(job) if finding.positive and finding.label in localised]
    return heatmaps_of(job, shown) if shown else {}


def _findings(job: InferenceJob, report: Report | None, heatmaps: Mapping[str, Heatmap]) -> tuple[CalledFinding, ...]:
    verdicts = report.verdicts if report else {}
    return tuple(
        CalledFinding(
            label=finding.label,
            probability=finding.probability,
            threshold=finding.threshold,
            positive=finding.positive,
            uncertain=finding.uncertain,
            verdict=verdicts.get(finding.label, ""),
            region=_region(heatmaps.get(finding.label)),
        )
        for finding in _in_order(job)
    )


def _refusal(job: InferenceJob | None) -> tuple[str, str] | tuple[()]:
    if job is None:
        return ("not-read", "The AI did not read this study.")
    if job.state == JobState.COMPLETE:
        return ()
    return (job.reason_code or job.state, job.reason or "The AI did not read this study.")


def patient_study_of(study: Study) -> dict[str, str]:
    """The attributes of patient and study as the product holds them now, by DICOM keyword."""
    birth, day, time = study.patient_birth_date, study.study_date, study.study_time
    sex = study.patient_sex.strip().upper()
    return {
        "PatientName": study.patient_name,
        "PatientID": study.patient.patient_id,
        "IssuerOfPatientID": study.patient.issuer_of_patient_id,
        "PatientBirthDate": f"{birth:%Y%m%d}" if birth else "",
        "PatientSex": sex,
        "PatientAge": study.patient_age.strip() if re.fullmatch(r"\d{3}[DWMY]", study.patient_age.strip()) else "",
        "StudyInstanceUID": study.study_instance_uid,
        "StudyDate": f"{day:%Y%m%d}" if day else "",
        "StudyTime": f"{time:%H%M%S}" if time else "",
        "StudyID": study.study_id,
        "StudyDescription": study.study_description,
        "AccessionNumber": study.accession_number,
        "ReferringPhysicianName": study.referring_physician_name,
    }


def _any_image(study: Study) -> Instance | None:
    return next(iter(instances_of(study)), None)


def _source(instance: Instance | None) -> SourceImage | None:
    if instance is None:
        return None
    rows, columns = instance.shape
    return SourceImage(
        instance.sop_class_uid, instance.sop_instance_uid, instance.series.series_instance_uid, rows, columns
    )


def _algorithm(job: InferenceJob | None) -> Algorithm:
    version = job.model_version if job else None
    if version is None:
        return Algorithm(PRODUCT, "none", PRODUCT_DEVICE_UID)
    return Algorithm(version.name, str(version), version.device_uid)


def _region(heatmap: Heatmap | None) -> tuple[float, float, float, float] | None:
    """The box around the strongest contribution, in pixels of the stored image."""
    found = heatmap and engine.strongest_region(heatmap.grid, heatmap.scale, heatmap.geometry, heatmap.inside)
    if heatmap is None or not found:
        return None
    instance = heatmap.instance
    turn, _ = engine.read_orientation(instance.attributes.get("PatientOrientation", ""), instance.view_position)
    left, top, right, bottom = found.box
    corners = [turn.stored_place(left, top), turn.stored_place(right, bottom)]
    rows, columns = instance.shape
    across, down = sorted(x * columns for x, _ in corners), sorted(y * rows for _, y in corners)
    return (round(across[0], 1), round(down[0], 1), round(across[1], 1), round(down[1], 1))


def _signature(study: Study, report: Report | None, zone: zoneinfo.ZoneInfo) -> Signature | None:
    if report is None or report.signed_at is None or report.signed_by is None:
        return None
    return Signature(
        number=report.number,
        signer=str(report.signed_by),
        organization=study.tenant.name,
        at=report.signed_at.astimezone(zone).replace(microsecond=0),
        impression=report.impression,
        reason=report.reason,
        addenda=tuple(each.addendum for each in addenda_of(report)),
        added=_added(study, report),
    )


def _added(study: Study, report: Report) -> tuple[AddedFinding, ...]:
    """The reader's findings; a box only where its image is stored."""
    images: dict[str, SourceImage | None] = {}
    if any(each["box"] for each in report.reader_findings):
        images = {each.sop_instance_uid: _source(each) for each in instances_of(study)}
    added = []
    for finding in report.reader_findings:
        image, region = images.get(finding["sop_instance_uid"]) if finding["box"] else None, None
        if image is not None:
            left, top, width, height = (float(side) for side in finding["box"])
            region = (left, top, left + width, top + height)
        added.append(AddedFinding(finding["name"], finding["label"], region, image))
    return tuple(added)

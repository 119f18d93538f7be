"""Collects the contents of a report, as texts and images that the template shows."""

import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass

from apps.core.work_queue import OPEN_STATES, JobState
from apps.deployment.stops import AI_STOPPED
from apps.inference.models import Finding, InferenceJob
from apps.inference.selectors import Heatmap, latest_job
from apps.inference.warnings import CodedWarning, warnings_of
from apps.registry.models import ModelVersion
from apps.reports.images import heatmap_overlay_uri, image_uri, load_image
from apps.reports.models import FindingReview, Report, ReportStatus
from apps.reports.selectors import heatmaps_of, rejection_of_image, reviews_of
from apps.studies.models import Instance, Study
from apps.studies.selectors import is_in_conflict

_SEXES = {"M": "Male", "F": "Female", "O": "Other"}
_AGE_UNITS = {"D": "days", "W": "weeks", "M": "months", "Y": "years"}
_FEW_OVERLAYS = 4


@dataclass(frozen=True)
class FindingLine:
    """One row of the report's table of findings."""

    name: str
    probability: str
    operating_point: str
    result: str
    positive: bool
    verdict: str
    uncertain: bool = False


@dataclass(frozen=True)
class Overlay:
    """The heatmap of one positive finding on the image; ``picture`` is empty where none can be drawn.

    Only a finding whose maps are validated as a localisation has one.
    """

    name: str
    probability: str
    operating_point: str
    place: str
    picture: str


@dataclass(frozen=True)
class ReportContents:
    report: Report
    study: Study
    version: ModelVersion | None
    instance: Instance | None
    finished: datetime.datetime | None
    patient_age: str
    patient_sex: str
    image: str
    abnormal: str
    lines: Sequence[FindingLine]
    overlays: Sequence[Overlay]
    not_localised: Sequence[str]
    superseded: str
    warnings: Sequence[CodedWarning]
    image_rejected: str = ""
    is_in_conflict: bool = False
    original_signed_at: datetime.datetime | None = None
    ai_stopped: str = ""

    @property
    def is_preliminary(self) -> bool:
        return self.report.status == ReportStatus.PRELIMINARY

    @property
    def as_of(self) -> datetime.datetime | None:
        """When the report was signed, or else when its result was computed."""
        return self.report.signed_at or self.finished

    @property
    def positives(self) -> Sequence[FindingLine]:
        return [line for line in self.lines if line.positive]

    @property
    def without_operating_point(self) -> Sequence[str]:
        return [line.name for line in self.lines if not line.operating_point]

    @property
    def has_no_operating_points(self) -> bool:
        return bool(self.lines) and len(self.without_operating_point) == len(self.lines)

    @property
    def overlay_size(self) -> str:
        return "large" if len(self.overlays) <= _FEW_OVERLAYS else "compact"


def contents_of(report: Report) -> ReportContents:
    """Collect the contents of a report about its own reading, which may be older than the study's latest.

    Raises:
        UnavailableError: the image's object cannot be read.
    """
    job = report.job
    findings = sorted(job.findings.all(), key=lambda finding: (not finding.positive, -finding.probability))
    reviews = reviews_of(job)
    image = load_image(job.instance) if job.instance is not None else None
    positives = [finding for finding in findings if finding.positive]
    localised = job.model_version.localised if job.model_version else []
    shown = [finding for finding in positives if finding.label in localised]
    heatmaps = heatmaps_of(job, shown) if image is not None else {}
    overlays = []
    for finding in shown:
        heatmap = heatmaps.get(finding.label)
        picture = heatmap_overlay_uri(image, heatmap) if image is not None and heatmap is not None else ""
        overlays.append(_overlay(finding, heatmap, picture))
    return ReportContents(
        report=report,
        study=report.study,
        version=job.model_version,
        instance=job.instance,
        finished=job.finished,
        patient_age=_age(report.study.patient_age),
        patient_sex=_SEXES.get(report.study.patient_sex.upper(), report.study.patient_sex),
        image="" if image is None else image_uri(image),
        abnormal=_abnormal(job),
        lines=[_line(finding, reviews.get(finding.label)) for finding in findings],
        overlays=overlays,
        not_localised=[readable(finding.label) for finding in positives if finding not in shown],
        superseded=_superseded(report.study, job),
        warnings=warnings_of(study=report.study, job=job),
        image_rejected=_image_rejected(job),
        is_in_conflict=is_in_conflict(report.study_id),
        original_signed_at=_original_signed_at(report),
        ai_stopped=job.reason if job.reason_code == AI_STOPPED else "",
    )


def _line(finding: Finding, review: FindingReview | None) -> FindingLine:
    result = "Flagged" if finding.positive else "Below"
    return FindingLine(
        name=readable(finding.label),
        probability=format_probability(finding.probability),
        operating_point="" if finding.threshold is None else format_probability(finding.threshold),
        result="No operating point" if finding.threshold is None else result,
        positive=finding.positive,
        verdict="" if review is None else review.get_verdict_display(),
        uncertain=finding.uncertain,
    )


def _abnormal(job: InferenceJob) -> str:
    score = job.abnormal
    if score is None:
        return ""
    side = "at or above" if score.positive else "below"
    return (
        f"Any finding: {format_probability(score.probability)}, {side} the operating point of "
        f"{format_probability(score.threshold)}."
    )


def _overlay(finding: Finding, heatmap: Heatmap | None, picture: str) -> Overlay:
    return Overlay(
        name=readable(finding.label),
        probability=format_probability(finding.probability),
        operating_point="" if finding.threshold is None else format_probability(finding.threshold),
        place="" if heatmap is None else _place(heatmap),
        picture=picture,
    )


def _place(heatmap: Heatmap) -> str:
    if not heatmap.has_known_sides:
        return "Zone not stated: it is not known which side of the image is the patient's right."
    zone = heatmap.zone
    return f"Strongest contribution: {zone}." if zone else "No region stands out on this version's fixed scale."


def _superseded(study: Study, job: InferenceJob) -> str:
    latest = latest_job(study)
    if latest is None or latest.pk == job.pk:
        return ""
    if latest.state in OPEN_STATES:
        return "This study is being read again; this report is about the earlier reading."
    if latest.state == JobState.COMPLETE:
        return "This study was read again since; this report is about the earlier reading."
    why = latest.reason.rstrip(".")
    return f"A later reading of this study gave no result ({why}); this report is about the earlier one."


def _original_signed_at(report: Report) -> datetime.datetime | None:
    if report.amends is None:
        return None
    return Report.objects.filter(study=report.study, number=1).values_list("signed_at", flat=True).first()


def _image_rejected(job: InferenceJob) -> str:
    rejection = rejection_of_image(job)
    return f"The image of this reading was rejected: {rejection.get_code_display().lower()}." if rejection else ""


def readable(label: str) -> str:
    return label.replace("_", " ").capitalize()


def format_probability(value: float) -> str:
    """A probability with one decimal; it is never rounded to 0 or 100 per cent."""
    if value < 0.0005:
        return "<0.1%"
    if value > 0.9995:
        return ">99.9%"
    return f"{value * 100:.1f}%"


def _age(value: str) -> str:
    """An AS value (PS3.5 6.2) as text; any other value unchanged."""
    match = re.fullmatch(r"(\d{3})([DWMY])", value.strip())
    return f"{int(match[1])} {_AGE_UNITS[match[2]]}" if match else value

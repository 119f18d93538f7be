"""Collects the contents of a report, as texts and images that the template shows."""

import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from apps.core.finding_names import finding_name
from apps.core.work_queue import OPEN_STATES, JobState
from apps.deployment.stops import AI_STOPPED
from apps.inference.models import Finding, InferenceJob
from apps.inference.selectors import Heatmap, latest_job
from apps.inference.stored_texts import stored_text
from apps.inference.warnings import CodedWarning, warnings_of
from apps.reading.selectors import reading_policy
from apps.registry.models import ModelVersion
from apps.reports.images import heatmap_overlay_uri, image_uri, load_image
from apps.reports.marks import MarkedImage, marked_images, name_of
from apps.reports.models import Report, ReportStatus, Verdict
from apps.reports.selectors import addenda_of, author_of, heatmaps_of, is_complete, rejection_of_image
from apps.studies.models import Instance, Study
from apps.studies.selectors import is_in_conflict

_FEW_OVERLAYS = 4
# The refusal of an image that its attributes call another part of the body (ml/model/input_check.py).
_NOT_CHEST = "not-chest"


@dataclass(frozen=True)
class FindingLine:
    """One row of the appendix: what the AI said of a finding, and what the reader decided."""

    name: str
    probability: str
    operating_point: str
    result: str
    positive: bool
    verdict: str
    decision: str
    uncertain: bool = False

    @property
    def is_present(self) -> bool:
        """Whether the reader takes the finding as present; without a verdict nothing is known."""
        return bool(self.verdict) and (self.verdict == Verdict.AGREE) == self.positive


@dataclass(frozen=True)
class Overlay:
    """The heatmap of one positive finding on the image; ``picture`` is empty where none can be drawn.

    Only a finding whose maps are validated as a localisation, and that the reader has not rejected, has one.
    """

    name: str
    probability: str
    operating_point: str
    place: str
    picture: str


@dataclass(frozen=True)
class AiResult:
    """What the AI said, for the appendix."""

    job: InferenceJob
    version: ModelVersion | None
    image: str
    abnormal: str
    lines: Sequence[FindingLine]
    overlays: Sequence[Overlay]
    not_localised: Sequence[str]
    warnings: Sequence[CodedWarning]

    @property
    def flagged(self) -> Sequence[FindingLine]:
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


@dataclass(frozen=True)
class ReportContents:
    report: Report
    study: Study
    letterhead: Sequence[str]
    patient_age: str
    patient_sex: str
    present: Sequence[str]
    rejected: Sequence[str]
    added: Sequence[str]
    marked: Sequence[MarkedImage]
    ai: AiResult | None
    ai_absent: str
    superseded: str
    image_rejected: str = ""
    is_in_conflict: bool = False
    original_signed_at: datetime.datetime | None = None
    addenda: Sequence[Report] = ()

    @property
    def author(self) -> Report:
        """The version whose signer wrote the impression."""
        return author_of(self.report)

    @property
    def is_of_chest(self) -> bool:
        """False where the image says that it shows another part of the body: the title then names none."""
        return self.report.job is None or self.report.job.reason_code != _NOT_CHEST

    @property
    def is_preliminary(self) -> bool:
        return self.report.status == ReportStatus.PRELIMINARY

    @property
    def instance(self) -> Instance | None:
        """The image that the AI read."""
        return self.ai.job.instance if self.ai else None

    @property
    def as_of(self) -> datetime.datetime | None:
        """When the report was signed, or else when the AI's result was computed."""
        return self.report.signed_at or (self.ai.job.finished if self.ai else None)


def contents_of(report: Report) -> ReportContents:
    """Collect the contents of a report about its own reading, in the language in force.

    The reading may be older than the study's latest.

    Raises:
        UnavailableError: the image's object cannot be read.
    """
    job, study = report.job, report.study
    # Of a reading without a result, no image and no finding is shown.
    ai = _ai_result(report, job) if job is not None and is_complete(job) else None
    lines = ai.lines if ai else []
    present = [line.name for line in lines if line.is_present]
    return ReportContents(
        report=report,
        study=study,
        letterhead=reading_policy().letterhead.splitlines() or [study.tenant.name],
        patient_age=_age(study.patient_age),
        patient_sex=_sex(study.patient_sex),
        present=present,
        rejected=[line.name for line in lines if line.positive and line.verdict == Verdict.DISAGREE],
        added=[name for name in map(name_of, report.reader_findings) if name not in present],
        marked=marked_images(report),
        ai=ai,
        ai_absent="" if ai else _ai_absent(job),
        superseded=_superseded(study, job),
        image_rejected=_image_rejected(job),
        is_in_conflict=is_in_conflict(report.study_id),
        original_signed_at=_original_signed_at(report),
        addenda=addenda_of(report),
    )


def _ai_result(report: Report, job: InferenceJob) -> AiResult:
    findings = sorted(job.findings.all(), key=lambda finding: (not finding.positive, -finding.probability))
    verdicts = report.verdicts
    image = load_image(job.instance) if job.instance is not None else None
    flagged = [finding for finding in findings if finding.positive]
    localised = job.model_version.localised if job.model_version else []
    shown = [each for each in flagged if each.label in localised and verdicts.get(each.label) != Verdict.DISAGREE]
    heatmaps = heatmaps_of(job, shown) if image is not None else {}
    overlays = []
    for finding in shown:
        heatmap = heatmaps.get(finding.label)
        picture = heatmap_overlay_uri(image, heatmap) if image is not None and heatmap is not None else ""
        overlays.append(_overlay(finding, heatmap, picture))
    return AiResult(
        job=job,
        version=job.model_version,
        image="" if image is None else image_uri(image),
        abnormal=_abnormal(job),
        lines=[_line(finding, verdicts.get(finding.label, "")) for finding in findings],
        overlays=overlays,
        not_localised=[finding_name(each.label) for each in flagged if each.label not in localised],
        warnings=warnings_of(study=report.study, job=job),
    )


def _line(finding: Finding, verdict: str) -> FindingLine:
    result = _("Flagged") if finding.positive else _("Below")
    return FindingLine(
        name=finding_name(finding.label),
        probability=format_probability(finding.probability),
        operating_point="" if finding.threshold is None else format_probability(finding.threshold),
        result=_("No operating point") if finding.threshold is None else result,
        positive=finding.positive,
        verdict=verdict,
        decision=_decision(finding, verdict),
        uncertain=finding.uncertain,
    )


def _decision(finding: Finding, verdict: str) -> str:
    if not verdict:
        return _("No verdict") if finding.positive else ""
    if verdict == Verdict.AGREE:
        return _("Confirmed") if finding.positive else _("Absent")
    return _("Rejected") if finding.positive else _("Present")


def _abnormal(job: InferenceJob) -> str:
    score = job.abnormal
    if score is None:
        return ""
    values = {
        "probability": format_probability(score.probability),
        "threshold": format_probability(score.threshold),
    }
    if score.positive:
        text = _("Any finding: %(probability)s, at or above the operating point of %(threshold)s.") % values
    else:
        text = _("Any finding: %(probability)s, below the operating point of %(threshold)s.") % values
    if job.recalibration is None or not job.recalibration.fits:
        return text
    return " ".join((text, _("This score is not recalibrated: it is on the version's own scale.")))


def _overlay(finding: Finding, heatmap: Heatmap | None, picture: str) -> Overlay:
    return Overlay(
        name=finding_name(finding.label),
        probability=format_probability(finding.probability),
        operating_point="" if finding.threshold is None else format_probability(finding.threshold),
        place="" if heatmap is None else _place(heatmap),
        picture=picture,
    )


def _place(heatmap: Heatmap) -> str:
    if not heatmap.has_known_sides:
        return _("Zone not stated: it is not known which side of the image is the patient's right.")
    zone = heatmap.zone
    if not zone:
        return _("No region stands out on this version's fixed scale.")
    return _("Strongest contribution: %(zone)s.") % {"zone": zone}


def _ai_absent(job: InferenceJob | None) -> str:
    """That the report has no result of the AI, and why."""
    if job is None or not job.reason:
        return _("No AI reading was used for this report.")
    reason = stored_text(job.reason_code, job.reason)
    text = _("No AI reading was used for this report: %(reason)s") % {"reason": reason}
    return f"{_('AI stopped.')} {text}" if job.reason_code == AI_STOPPED else text


def _superseded(study: Study, job: InferenceJob | None) -> str:
    latest = latest_job(study)
    if latest is None or job is None or latest.pk == job.pk:
        return ""
    if latest.state in OPEN_STATES:
        return _("This study is being read again; this report is about the earlier reading.")
    if latest.state == JobState.COMPLETE:
        return _("This study was read again since; this report is about the earlier reading.")
    return _("A later reading of this study gave no result (%(reason)s); this report is about the earlier one.") % {
        "reason": stored_text(latest.reason_code, latest.reason).rstrip(".")
    }


def _original_signed_at(report: Report) -> datetime.datetime | None:
    if report.amends is None:
        return None
    return Report.objects.filter(study=report.study, number=1).values_list("signed_at", flat=True).first()


def _image_rejected(job: InferenceJob | None) -> str:
    rejection = rejection_of_image(job)
    if rejection is None:
        return ""
    return _("The image of this reading was rejected: %(reason)s.") % {"reason": rejection.get_code_display()}


def format_probability(value: float) -> str:
    """A probability with one decimal; it is never rounded to 0 or 100 per cent."""
    if value < 0.0005:
        number = "<" + number_format(0.1, 1)
    elif value > 0.9995:
        number = ">" + number_format(99.9, 1)
    else:
        number = number_format(round(value * 100, 1), 1)
    # Translators: a share in per cent, such as 71.3%
    return _("%(number)s%%") % {"number": number}


def _sex(value: str) -> str:
    return {"M": _("Male"), "F": _("Female"), "O": _("Other")}.get(value.upper(), value)


def _age(value: str) -> str:
    """An AS value (PS3.5 6.2) as text; any other value unchanged."""
    match = re.fullmatch(r"(\d{3})([DWMY])", value.strip())
    if not match:
        return value
    number = int(match[1])
    units = {
        "D": ngettext("%(number)s day", "%(number)s days", number),
        "W": ngettext("%(number)s week", "%(number)s weeks", number),
        "M": ngettext("%(number)s month", "%(number)s months", number),
        "Y": ngettext("%(number)s year", "%(number)s years", number),
    }
    return units[match[2]] % {"number": number}

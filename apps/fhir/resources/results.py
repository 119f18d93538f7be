"""The result of a study as it is reported: the values that DiagnosticReport and Observation are built from."""

import datetime
import zoneinfo
from dataclasses import dataclass

from apps.core.work_queue import JobState
from apps.inference.models import InferenceJob
from apps.reports.models import Report, ReportStatus
from apps.studies.models import Study

REGISTERED = "registered"
CANCELLED = "cancelled"
ENDED_WITHOUT_RESULT = (JobState.FAILED, JobState.REJECTED)


@dataclass(frozen=True)
class StudyResult:
    """A study's report with the reading that it is about.

    Attributes:
        report: the signed one in force.
        has_draft: whether there is a preliminary report.
        job: the reading of the signed report; without one, the study's latest.
        zone: of the hospital: DICOM dates and times name none.
        hospital: its name.
    """

    study: Study
    report: Report | None
    has_draft: bool
    job: InferenceJob | None
    zone: zoneinfo.ZoneInfo
    hospital: str

    @property
    def has_reading(self) -> bool:
        return self.job is not None and self.job.state == JobState.COMPLETE

    @property
    def status(self) -> str:
        """The code of DiagnosticReportStatus (https://hl7.org/fhir/R4/valueset-diagnostic-report-status.html).

        A study that was not read yet has a registered report, one that the AI refused a cancelled one.
        """
        if self.report is not None:
            return self.report.status
        if self.has_draft or self.has_reading:
            return ReportStatus.PRELIMINARY
        return CANCELLED if self.is_refused else REGISTERED

    @property
    def is_refused(self) -> bool:
        """Whether the reading ended without a result."""
        return self.job is not None and self.job.state in ENDED_WITHOUT_RESULT

    @property
    def updated(self) -> datetime.datetime:
        """When the report was signed, or else when the AI's result was there, or the study came."""
        if self.report is not None and self.report.signed_at is not None:
            return self.report.signed_at
        finished = self.job.finished if self.job else None
        return finished or self.study.received

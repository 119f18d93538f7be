"""What a study's page shows."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from apps.inference.models import Finding, InferenceJob, JobState
from apps.inference.selectors import RECEIVED, latest_job
from apps.inference.warnings import Warned, warnings_of
from apps.reports.models import Report, ReportStatus
from apps.reports.selectors import heatmaps_of, report_of, reviews_of
from apps.studies.models import Instance, Study
from apps.studies.selectors import get_study_by_id, instances_of
from apps.tenants.models import Membership
from apps.tenants.services import sees_findings

_SHORTCUTS = 9


@dataclass(frozen=True)
class FindingRow:
    """One line of the findings' table."""

    finding: Finding
    zone: str | None
    has_map: bool
    verdict: str
    shortcut: int | None


@dataclass(frozen=True)
class StudyImage:
    number: int
    instance: Instance
    is_shown: bool


@dataclass(frozen=True)
class StudyPage:
    study: Study
    job: InferenceJob | None
    instances: list[Instance]
    rows: list[FindingRow]
    report: Report | None
    membership: Membership
    warnings: list[Warned]

    @property
    def status(self) -> str:
        return self.job.state if self.job else RECEIVED

    @property
    def instance(self) -> Instance | None:
        """The film that the AI read, or the first one."""
        if self.job is not None and self.job.instance is not None:
            return self.job.instance
        return self.instances[0] if self.instances else None

    @property
    def images(self) -> list[StudyImage]:
        """The study's images by number; the page opens with the one that is shown."""
        shown = self.instance
        return [StudyImage(number, each, each == shown) for number, each in enumerate(self.instances, start=1)]

    @property
    def flagged(self) -> list[FindingRow]:
        return [row for row in self.rows if row.finding.positive]

    @property
    def not_judged(self) -> list[FindingRow]:
        """The findings that have no operating point."""
        return [row for row in self.rows if row.finding.threshold is None]

    @property
    def judges_nothing(self) -> bool:
        return bool(self.rows) and len(self.not_judged) == len(self.rows)

    @property
    def is_signed(self) -> bool:
        return self.report is not None and self.report.status != ReportStatus.PRELIMINARY

    @property
    def can_sign(self) -> bool:
        return self.reads and not self.is_signed and self.tells_of_this_result

    @property
    def tells_of_this_result(self) -> bool:
        """A report on an earlier reading says nothing about what the page shows."""
        same = self.report is not None and self.job is not None and self.report.job_id == self.job.pk
        return same and self.status == JobState.COMPLETE

    @property
    def can_review(self) -> bool:
        return self.can_sign

    @property
    def reads(self) -> bool:
        return sees_findings(self.membership)

    @property
    def token(self) -> str:
        """Changes when anything on the page that the AI or a reader decides has changed."""
        waits = self.job.reason_code if self.job else ""
        parts: list[Any] = [self.job.pk if self.job else "", self.status, waits, len(self.instances)]
        parts += [self.report.pk, self.report.status] if self.report else ["", ""]
        return ":".join(str(part) for part in parts)


def study_page(*, pk: UUID, membership: Membership) -> StudyPage:
    """Raises NotFoundError where the tenant in force has no such study."""
    study = get_study_by_id(pk)
    job = latest_job(study)
    return StudyPage(
        study=study,
        job=job,
        instances=instances_of(study),
        rows=_rows(job) if sees_findings(membership) and job is not None and job.state == JobState.COMPLETE else [],
        report=report_of(study),
        membership=membership,
        warnings=warnings_of(study=study, job=job),
    )


def _rows(job: InferenceJob) -> list[FindingRow]:
    reviews = reviews_of(job)
    ordered = sorted(job.findings.all(), key=lambda finding: (not finding.positive, -finding.probability))
    maps = heatmaps_of(job, ordered)
    return [
        FindingRow(
            finding=finding,
            zone=maps[finding.label].zone if finding.label in maps else None,
            has_map=finding.label in maps and maps[finding.label].opacity > 0,
            verdict=reviews[finding.label].verdict if finding.label in reviews else "",
            shortcut=number if number <= _SHORTCUTS else None,
        )
        for number, finding in enumerate(ordered, start=1)
    ]

"""The selector of a study's page, with everything that the page shows."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from apps.core.work_queue import OPEN_STATES, JobState
from apps.deployment.stops import AI_STOPPED
from apps.inference.models import Finding, InferenceJob
from apps.inference.rejections import MAY_REJECT
from apps.inference.selectors import RECEIVED, latest_job
from apps.inference.warnings import CodedWarning, warnings_of
from apps.portal.demographics import ShownConflict, shown_conflicts
from apps.reports.models import Report
from apps.reports.selectors import draft_of, has_new_images, heatmaps_of, reviews_of, versions_of
from apps.studies.models import ImageRejection, Instance, Study
from apps.studies.selectors import get_study_by_id, instances_of, other_objects_of, rejections_of
from apps.tenants.models import Membership
from apps.tenants.services import sees_findings

_SHORTCUTS = 9


@dataclass(frozen=True)
class FindingRow:
    """One row of the table of findings."""

    finding: Finding
    zone: str | None
    has_map: bool
    is_localised: bool
    verdict: str
    shortcut: int | None


@dataclass(frozen=True)
class StudyImage:
    number: int
    instance: Instance
    is_shown: bool
    rejection: ImageRejection | None


@dataclass(frozen=True)
class StudyPage:
    study: Study
    job: InferenceJob | None
    instances: list[Instance]
    rows: list[FindingRow]
    report: Report | None
    draft: Report | None
    former: list[Report]
    rejections: dict[str, ImageRejection]
    others: list[Instance]
    has_new_images: bool
    membership: Membership
    warnings: list[CodedWarning]
    conflicts: list[ShownConflict]

    @property
    def status(self) -> str:
        return self.job.state if self.job else RECEIVED

    @property
    def instance(self) -> Instance | None:
        """The image that was read, or the first one."""
        if self.job is not None and self.job.instance is not None and not self.job.instance.is_held:
            return self.job.instance
        return self.instances[0] if self.instances else None

    @property
    def images(self) -> list[StudyImage]:
        """The study's images by number; the page opens with the one that is shown."""
        shown = self.instance
        return [
            StudyImage(number, each, each == shown, self.rejections.get(each.sop_instance_uid))
            for number, each in enumerate(self.instances, start=1)
        ]

    @property
    def flagged(self) -> list[FindingRow]:
        return [row for row in self.rows if row.finding.positive]

    @property
    def uncertain(self) -> list[FindingRow]:
        return [row for row in self.rows if row.finding.uncertain]

    @property
    def without_operating_point(self) -> list[FindingRow]:
        """The findings that have no operating point."""
        return [row for row in self.rows if row.finding.threshold is None]

    @property
    def has_no_operating_points(self) -> bool:
        return bool(self.rows) and len(self.without_operating_point) == len(self.rows)

    @property
    def is_signed(self) -> bool:
        return self.report is not None

    @property
    def is_read_again(self) -> bool:
        """Whether a reading came after the one that the signed report is about."""
        return self.report is not None and self.job is not None and self.report.job_id != self.job.pk

    @property
    def can_sign(self) -> bool:
        return self.reads and not self.is_signed and self.has_draft_of_this_result

    @property
    def can_amend(self) -> bool:
        """Whether the reader may amend the signed report: on the latest result, or else on the report's own."""
        return self.reads and self.is_signed and self.status not in (RECEIVED, *OPEN_STATES)

    @property
    def has_draft_of_this_result(self) -> bool:
        """Whether the draft is about the result that the page shows, and not about an earlier one."""
        same = self.draft is not None and self.job is not None and self.draft.job_id == self.job.pk
        return same and (self.status == JobState.COMPLETE or self.is_ai_stopped)

    @property
    def is_ai_stopped(self) -> bool:
        """Whether the study was not read because the AI was stopped."""
        return self.job is not None and self.job.reason_code == AI_STOPPED

    @property
    def can_review(self) -> bool:
        return self.reads and self.has_draft_of_this_result

    @property
    def can_reject_images(self) -> bool:
        return self.membership.role in MAY_REJECT

    @property
    def rejection_codes(self) -> list[tuple[str, str]]:
        return list(ImageRejection.Code.choices)

    @property
    def rejection_of_report_image(self) -> ImageRejection | None:
        """The rejection, since the signature, of the image that the signed report is about."""
        image = self.report.job.instance if self.report is not None else None
        return self.rejections.get(image.sop_instance_uid) if image is not None else None

    @property
    def reads(self) -> bool:
        return sees_findings(self.membership)

    @property
    def token(self) -> str:
        """A text that changes when a result, a report, a rejection or an image of the page changes."""
        waits = self.job.reason_code if self.job else ""
        parts: list[Any] = [self.job.pk if self.job else "", self.status, waits, len(self.instances)]
        parts += [each.pk if each else "" for each in (self.report, self.draft)]
        parts += [len(self.rejections), len(self.others)]
        return ":".join(str(part) for part in parts)


def study_page(*, pk: UUID, membership: Membership) -> StudyPage:
    """Raises NotFoundError where the tenant in force has no such study."""
    study = get_study_by_id(pk)
    job = latest_job(study)
    versions = list(versions_of(study))
    report = versions[0] if versions else None
    return StudyPage(
        study=study,
        job=job,
        instances=instances_of(study),
        rows=_rows(job) if sees_findings(membership) and job is not None and job.state == JobState.COMPLETE else [],
        report=report,
        draft=draft_of(study),
        former=versions[1:],
        rejections=rejections_of(study),
        others=other_objects_of(study),
        has_new_images=report is not None and has_new_images(report),
        membership=membership,
        warnings=warnings_of(study=study, job=job),
        conflicts=shown_conflicts(study),
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
            is_localised=job.model_version is not None and finding.label in job.model_version.localised,
            verdict=reviews[finding.label].verdict if finding.label in reviews else "",
            shortcut=number if number <= _SHORTCUTS else None,
        )
        for number, finding in enumerate(ordered, start=1)
    ]

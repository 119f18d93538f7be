"""The selector of a study's page, with everything that the page shows."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.utils.translation import gettext

from apps.core.work_queue import OPEN_STATES, JobState
from apps.critical.models import CriticalNotice
from apps.critical.selectors import notices_to_acknowledge
from apps.deployment.stops import AI_STOPPED
from apps.inference.models import Finding, InferenceJob
from apps.inference.rejections import MAY_REJECT
from apps.inference.selectors import RECEIVED, latest_job
from apps.inference.warnings import CodedWarning, warnings_of
from apps.portal.demographics import ShownConflict, shown_conflicts
from apps.portal.priors import Priors, priors_of
from apps.quality.selectors import confirmed_shares
from apps.quality.wording import confirmed_text
from apps.reading.models import AiDisplay, ReadingPolicy
from apps.reading.selectors import reading_policy
from apps.registry import engine
from apps.reports.models import AddendumDraft, BlindStep, Report, ReportDraft
from apps.reports.printed import patient_key
from apps.reports.selectors import (
    addenda_of,
    author_of,
    committed_impressions,
    draft_of,
    has_new_images,
    heatmaps_of,
    hides_findings,
    is_complete,
    reader_findings_of,
    reviews_of,
    stored_addendum,
    stored_draft,
    versions_of,
)
from apps.results.selectors import ListedObject, objects_of, without_results
from apps.studies.models import ImageRejection, Instance, Study
from apps.studies.selectors import get_study_by_id, instances_of, other_objects_of, rejections_of
from apps.tenants.models import Membership, Role
from apps.tenants.services import sees_findings

_SHORTCUTS = 9


@dataclass(frozen=True)
class FindingRow:
    """One row of the table of findings."""

    finding: Finding
    zone: str | None
    is_outside: bool
    has_map: bool
    is_localised: bool
    verdict: str
    shortcut: int | None
    at_this_site: str


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
    priors: Priors
    has_new_images: bool
    membership: Membership
    warnings: list[CodedWarning]
    conflicts: list[ShownConflict]
    policy: ReadingPolicy
    is_blind: bool
    saved: ReportDraft
    saved_addendum: AddendumDraft
    reader_findings: list[dict[str, Any]]
    committed: list[BlindStep]
    critical: list[CriticalNotice]

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
    def is_open(self) -> bool:
        """Whether the AI has still to read the study."""
        return self.status in (RECEIVED, *OPEN_STATES)

    @property
    def has_result(self) -> bool:
        return self.status == JobState.COMPLETE

    @property
    def is_read_again(self) -> bool:
        """Whether the AI's result that the page shows is not the one that the signed report is about."""
        is_other = self.report is not None and self.report.job_id != self._job_id
        return self.has_result and is_other and not self.is_signed_without_ai

    @property
    def _job_id(self) -> UUID | None:
        return self.job.pk if self.job is not None else None

    @property
    def can_amend(self) -> bool:
        """Whether the reader may amend the signed report: on the latest result, or else on the report's own."""
        return self.reads and self.is_signed

    @property
    def must_commit(self) -> bool:
        """Whether the reader has to commit an impression before the result is shown."""
        return self.is_blind and self.has_result

    @property
    def shows_committed_result(self) -> bool:
        """Whether the page shows findings that were kept from the reader until an impression was committed."""
        blind_first = self.policy.ai_display == AiDisplay.BLIND_FIRST
        return blind_first and not self.is_blind and bool(self.rows)

    @property
    def is_amending(self) -> bool:
        """Whether a reader has begun the next version of the signed report."""
        return self.is_signed and bool(self.saved.impression or self.saved.reason)

    @property
    def can_edit_findings(self) -> bool:
        return self.reads and (not self.is_signed or self.saved.is_stored)

    @property
    def without_verdict(self) -> list[FindingRow]:
        """The flagged findings that need a verdict before the signature."""
        return [row for row in self.flagged if not row.verdict]

    @property
    def patient_key(self) -> str:
        """The patient as the page shows them; a signature for another one is refused."""
        return patient_key(self.study)

    @property
    def addenda(self) -> list[Report]:
        return addenda_of(self.report) if self.report is not None else []

    @property
    def author(self) -> Report | None:
        """The version whose signer wrote the impression; an addendum keeps it."""
        return author_of(self.report) if self.report is not None else None

    @property
    def is_signed_without_ai(self) -> bool:
        return self.report is not None and not is_complete(self.report.job)

    @property
    def is_drafted(self) -> bool:
        """Whether the draft is about what the page shows: the AI's result, or none."""
        return self.draft is not None and (self.draft.job_id is None or self.draft.job_id == self._job_id)

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
    def labels(self) -> tuple[str, ...]:
        """The findings whose names a reader may choose for a finding of their own."""
        return tuple(engine.LABELS)

    @property
    def rejection_codes(self) -> list[tuple[str, str]]:
        return [(code, str(name)) for code, name in ImageRejection.Code.choices]

    @property
    def rejection_of_report_image(self) -> ImageRejection | None:
        """The rejection, since the signature, of the image that the signed report is about."""
        image = self.report.job.instance if self.report is not None and self.report.job is not None else None
        return self.rejections.get(image.sop_instance_uid) if image is not None else None

    @property
    def reads(self) -> bool:
        return sees_findings(self.membership)

    @property
    def result_objects(self) -> list[ListedObject]:
        """The DICOM objects of the results; neither technologists nor a blind reader learn that there are any."""
        sees = self.membership.role in (Role.RADIOLOGIST, Role.ADMIN) and not self.is_blind
        return objects_of(self.study) if sees else []

    @property
    def token(self) -> str:
        """A text that changes when a result, a report, a rejection or an image of the page changes."""
        waits = self.job.reason_code if self.job else ""
        parts: list[Any] = [self.job.pk if self.job else "", self.status, waits, len(self.instances)]
        draft = self.draft.pk if self.draft is not None and self.has_draft_of_this_result else ""
        parts += [self.report.pk if self.report else "", draft]
        parts += [len(self.rejections), len(self.others), self.is_blind, len(self.critical), len(self.priors.earlier)]
        return ":".join(str(part) for part in parts)


def study_page(*, pk: UUID, membership: Membership) -> StudyPage:
    """Raises NotFoundError where the tenant in force has no such study."""
    study = get_study_by_id(pk)
    job = latest_job(study)
    versions = list(versions_of(study))
    report = versions[0] if versions else None
    is_blind = sees_findings(membership) and hides_findings(study, membership.user)
    shows = sees_findings(membership) and not is_blind
    return StudyPage(
        study=study,
        job=job,
        instances=instances_of(study),
        rows=_rows(job) if shows and job is not None and job.state == JobState.COMPLETE else [],
        report=report,
        draft=draft_of(study),
        former=versions[1:],
        rejections=rejections_of(study),
        others=without_results(other_objects_of(study)),
        priors=priors_of(study, membership, shows_findings=shows),
        has_new_images=report is not None and has_new_images(report),
        membership=membership,
        warnings=[*warnings_of(study=study, job=job), *_late_result(report, job)],
        conflicts=shown_conflicts(study),
        policy=reading_policy(),
        is_blind=is_blind,
        saved=stored_draft(study, report),
        saved_addendum=stored_addendum(study, membership.user),
        reader_findings=reader_findings_of(study),
        committed=committed_impressions(study) if shows else [],
        critical=notices_to_acknowledge(study, membership),
    )


def _late_result(report: Report | None, job: InferenceJob | None) -> list[CodedWarning]:
    """What to know where the AI's result came after a report that was written without one."""
    if report is None or is_complete(report.job) or not is_complete(job):
        return []
    detail = gettext("This result came after the signature. The signed report was written without the AI.")
    return [CodedWarning("result-after-signature", detail)]


def _rows(job: InferenceJob) -> list[FindingRow]:
    reviews = reviews_of(job)
    ordered = sorted(job.findings.all(), key=lambda finding: (not finding.positive, -finding.probability))
    maps = heatmaps_of(job, ordered)
    flagged = [each.label for each in ordered if each.positive]
    confirmed = confirmed_shares(job.model_version, flagged) if job.model_version else {}
    return [
        FindingRow(
            finding=finding,
            zone=maps[finding.label].zone if finding.label in maps else None,
            is_outside=finding.label in maps and maps[finding.label].is_outside,
            has_map=finding.label in maps and maps[finding.label].opacity > 0,
            is_localised=job.model_version is not None and finding.label in job.model_version.localised,
            verdict=reviews[finding.label].verdict if finding.label in reviews else "",
            shortcut=number if number <= _SHORTCUTS else None,
            at_this_site=confirmed_text(confirmed[finding.label]) if finding.label in confirmed else "",
        )
        for number, finding in enumerate(ordered, start=1)
    ]

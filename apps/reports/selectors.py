"""Selectors for reports, verdicts and heatmaps of the tenant in force."""

from collections.abc import Iterable
from typing import Any

from django.db.models import QuerySet

from apps.accounts.models import User
from apps.core.work_queue import JobState
from apps.inference.models import Finding, HeatmapGrids, InferenceJob
from apps.inference.selectors import Heatmap, displayed_maps
from apps.inference.warnings import has_known_sides
from apps.reading.models import AiDisplay
from apps.reading.selectors import reading_policy
from apps.registry import engine
from apps.reports.models import (
    AddendumDraft,
    BlindStep,
    FindingReview,
    ReaderFinding,
    Report,
    ReportDraft,
    ReportStatus,
    Verdict,
)
from apps.studies.models import ImageRejection, Study
from apps.studies.selectors import count_images

_WITH_ITS_READING = ("study__patient", "study__tenant", "job__model_version", "job__instance", "job__recalibration")


def report_of(study: Study) -> Report | None:
    """The signed report that is in force, with its reading and its signer."""
    return versions_of(study).first()


def versions_of(study: Study) -> "QuerySet[Report]":
    """All signed versions of a study's report, the one in force first."""
    signed = Report.objects.filter(study=study).select_related(*_WITH_ITS_READING, "signed_by", "amends")
    return signed.order_by("-number")


def draft_of(study: Study) -> Report | None:
    """The report as it would be signed now; None where there is no draft, or its image was rejected since.

    The text that a reader has saved is not part of it: it leaves the portal with the signature only.
    """
    draft = ReportDraft.objects.filter(study=study).select_related(*_WITH_ITS_READING).first()
    if draft is None or (is_complete(draft.job) and rejection_of_image(draft.job) is not None):
        return None
    return Report(
        id=draft.pk, tenant_id=draft.tenant_id, study=draft.study, job=draft.job, status=ReportStatus.PRELIMINARY,
        created=draft.created, verdicts=verdicts_of(draft.job), reader_findings=reader_findings_of(study),
    )  # fmt: skip


def stored_draft(study: Study, current: Report | None) -> ReportDraft:
    """The text that readers saved for a study; an empty, unsaved draft where there is none.

    Args:
        current: the signed version in force.
    """
    found = ReportDraft.objects.filter(study=study).select_related("saved_by", "job").first()
    draft = found or ReportDraft(study=study)
    # A page from before the signature must not take the next version's draft for its own.
    draft.revision = max(draft.revision, current.draft_revision if current else 0)
    return draft


def stored_addendum(study: Study, reader: User) -> AddendumDraft:
    """The addendum that a reader has not signed yet; an empty, unsaved one where there is none."""
    found = AddendumDraft.objects.filter(study=study, saved_by=reader).first()
    return found or AddendumDraft(study=study, saved_by=reader)


def addenda_of(report: Report) -> list[Report]:
    """The addenda to the impression of a signed version, itself included where it is one, oldest first."""
    found: list[Report] = []
    current: Report | None = report
    while current is not None and current.is_addendum:
        found.insert(0, current)
        current = current.amends
    return found


def author_of(report: Report) -> Report:
    """The version that the impression of a signed version was written for: an addendum keeps that of another."""
    while report.is_addendum and report.amends is not None:
        report = report.amends
    return report


def is_complete(job: InferenceJob | None) -> bool:
    """Whether the AI has read the study: only then a report has something to say of it."""
    return job is not None and job.state == JobState.COMPLETE


def hides_findings(study: Study, user: User) -> bool:
    """Whether the AI's findings are kept from a reader: blind reading, no impression committed, no signed version."""
    if reading_policy().ai_display != AiDisplay.BLIND_FIRST or Report.objects.filter(study=study).exists():
        return False
    committed = BlindStep.objects.filter(study=study, reader=user, kind=BlindStep.Kind.COMMITTED)
    return not committed.exists()


def committed_impressions(study: Study) -> list[BlindStep]:
    """What readers concluded before the AI was shown to them, oldest first."""
    steps = BlindStep.objects.filter(study=study, kind=BlindStep.Kind.COMMITTED)
    return list(steps.select_related("reader").order_by("at"))


def reader_findings_of(study: Study) -> list[dict[str, Any]]:
    """The findings that readers added to the report that is being written."""
    return [each.as_signed for each in ReaderFinding.objects.filter(study=study)]


def rejection_of_image(job: InferenceJob | None) -> ImageRejection | None:
    """The rejection, in force now, of the image that a job read."""
    if job is None or job.instance is None:
        return None
    uid = job.instance.sop_instance_uid
    rows = ImageRejection.objects.filter(study_id=job.study_id, sop_instance_uid=uid, withdrawn_at=None)
    return rows.first()


def has_new_images(report: Report) -> bool:
    """Whether images of the study arrived after the signature."""
    return count_images([report.study_id]).get(report.study_id, 0) > report.image_count


def reviews_of(job: InferenceJob) -> dict[str, FindingReview]:
    """The reader's verdicts on a job's findings, by label."""
    reviews = FindingReview.objects.filter(finding__job=job).select_related("finding", "reader")
    return {review.finding.label: review for review in reviews}


def verdicts_of(job: InferenceJob | None) -> dict[str, str]:
    """The readers' verdicts on a job's findings by label, as a signed version keeps them."""
    if job is None:
        return {}
    return dict(FindingReview.objects.filter(finding__job=job).values_list("finding__label", "verdict"))


def presence_of(report: Report, findings: Iterable[Finding]) -> dict[str, bool]:
    """What a signed version says of each finding, by label: whether it is present. Others are left out.

    To agree confirms the AI's result; a finding that a reader added is present.

    Args:
        findings: of the report's reading.
    """
    found = {
        each.label: each.positive == (report.verdicts[each.label] == Verdict.AGREE)
        for each in findings
        if each.label in report.verdicts
    }
    return found | {each["label"]: True for each in report.reader_findings if each["label"]}


def heatmaps_of(job: InferenceJob, findings: Iterable[Finding]) -> dict[str, Heatmap]:
    """The maps of some of a job's findings, by label; empty where none can be drawn.

    Unlike in ``get_heatmap``, the job need not be the study's latest: a report shows its own reading.
    """
    grids = HeatmapGrids.objects.filter(job=job).first()
    if grids is None or job.instance is None or job.model_version is None:
        return {}
    manifest = engine.Manifest.from_dict(job.model_version.manifest)
    maps = displayed_maps(job, grids, manifest)
    return {
        finding.label: Heatmap(
            finding=finding,
            instance=job.instance,
            grid=maps.cams[manifest.labels.index(finding.label)],
            scale=manifest.cam_scale[finding.label],
            geometry=maps.geometry,
            opacity=engine.opacity(finding.probability, finding.threshold),
            inside=maps.inside,
            has_known_sides=has_known_sides(job),
        )
        for finding in findings
    }

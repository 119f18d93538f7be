"""Selectors for reports, verdicts and heatmaps of the tenant in force."""

from collections.abc import Iterable

from django.db.models import QuerySet

from apps.inference.models import Finding, HeatmapGrids, InferenceJob
from apps.inference.selectors import Heatmap, displayed_maps
from apps.inference.warnings import has_known_sides
from apps.registry import engine
from apps.reports.models import FindingReview, Report, ReportDraft, ReportStatus
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
    """The unsigned report on the latest result, as it would be signed; None where its image was rejected since."""
    draft = ReportDraft.objects.filter(study=study).select_related(*_WITH_ITS_READING).first()
    if draft is None or rejection_of_image(draft.job) is not None:
        return None
    return Report(
        id=draft.pk, tenant_id=draft.tenant_id, study=draft.study, job=draft.job, status=ReportStatus.PRELIMINARY,
        created=draft.created,
    )  # fmt: skip


def rejection_of_image(job: InferenceJob) -> ImageRejection | None:
    """The rejection, in force now, of the image that a job read."""
    if job.instance is None:
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

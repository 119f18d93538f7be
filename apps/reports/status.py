"""Report states of many studies for lists: status, former versions, and changes after the signature."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from django.db.models import Q

from apps.reports.models import Report, ReportDraft, ReportStatus
from apps.studies.models import ImageRejection
from apps.studies.selectors import count_images


@dataclass(frozen=True)
class ReportState:
    """The state of a study's report; ``status`` is of the signed report where there is one."""

    status: str | None = None
    former: list[Report] = field(default_factory=list)
    new_images: bool = False
    image_rejected: bool = False


def report_states(study_ids: Sequence[UUID], latest_jobs: Sequence[UUID]) -> dict[UUID, ReportState]:
    """The report states of several studies, with a fixed number of queries; studies without a report are left out.

    Args:
        latest_jobs: the latest job of each study; an unsigned report on an earlier one is not shown.
    """
    current = Q(job_id__in=latest_jobs) | Q(job__isnull=True)
    drafts = ReportDraft.objects.filter(current, study_id__in=study_ids).values_list("study_id", flat=True)
    states = {study_id: ReportState(ReportStatus.PRELIMINARY) for study_id in drafts}
    versions: dict[UUID, list[Report]] = {}
    for report in Report.objects.filter(study_id__in=study_ids).select_related("job__instance").order_by("-number"):
        versions.setdefault(report.study_id, []).append(report)
    if not versions:
        return states
    counts = count_images(list(versions))
    rejections = ImageRejection.objects.filter(study_id__in=versions, withdrawn_at=None)
    rejected = set(rejections.values_list("study_id", "sop_instance_uid"))
    for study_id, (in_force, *former) in versions.items():
        image = in_force.job.instance if in_force.job is not None else None
        states[study_id] = ReportState(
            status=in_force.status,
            former=former,
            new_images=counts.get(study_id, 0) > in_force.image_count,
            image_rejected=image is not None and (study_id, image.sop_instance_uid) in rejected,
        )
    return states

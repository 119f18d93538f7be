"""Report states of many studies for lists: status, former versions, and changes after the signature."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db.models import Case, Count, Exists, IntegerField, OuterRef, Q, QuerySet, Subquery, Value, When
from django.db.models.functions import Coalesce

from apps.inference.models import InferenceJob
from apps.reports.models import Report, ReportDraft, ReportStatus
from apps.studies.models import ImageRejection, Instance
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
    drafts = ReportDraft.objects.filter(job_id__in=latest_jobs).values_list("study_id", flat=True)
    states = {study_id: ReportState(ReportStatus.PRELIMINARY) for study_id in drafts}
    versions: dict[UUID, list[Report]] = {}
    for report in Report.objects.filter(study_id__in=study_ids).select_related("job__instance").order_by("-number"):
        versions.setdefault(report.study_id, []).append(report)
    if not versions:
        return states
    counts = count_images(list(versions))
    rejections = ImageRejection.objects.filter(study_id__in=versions, withdrawn_at=None)
    rejected = set(rejections.values_list("study_id", "sop_instance_uid"))
    for study_id, (current, *former) in versions.items():
        image = current.job.instance
        states[study_id] = ReportState(
            status=current.status,
            former=former,
            new_images=counts.get(study_id, 0) > current.image_count,
            image_rejected=image is not None and (study_id, image.sop_instance_uid) in rejected,
        )
    return states


def with_report_state(studies: "QuerySet[Any]") -> "QuerySet[Any]":
    """Studies annotated with ``report_status`` as above, and with ``has_new_images`` since the signature."""
    signed = Report.objects.filter(study=OuterRef("pk")).order_by("-number")
    latest = InferenceJob.objects.filter(study=OuterRef("study")).order_by("-id").values("id")[:1]
    draft = ReportDraft.objects.filter(study=OuterRef("pk"), job=Subquery(latest))
    images = Instance.objects.filter(series__study=OuterRef("pk"), rows__isnull=False, is_held=False).order_by()
    count = images.values("series__study").annotate(count=Count("id")).values("count")
    return studies.annotate(
        signed_status=Subquery(signed.values("status")[:1]),
        signed_image_count=Subquery(signed.values("image_count")[:1]),
    ).annotate(
        report_status=Coalesce(
            "signed_status", Case(When(Exists(draft), then=Value(ReportStatus.PRELIMINARY.value)), default=None)
        ),
        has_new_images=Case(
            When(
                Q(signed_image_count__isnull=False)
                & Q(signed_image_count__lt=Coalesce(Subquery(count, output_field=IntegerField()), 0)),
                then=Value(True),
            ),
            default=Value(False),
        ),
    )

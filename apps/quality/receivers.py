"""What changes the counts and discordances of a study.

A signature, a rejected image, a withdrawal, what takes one of them back, and a result that comes after the signature.
"""

from collections.abc import Collection
from typing import Any
from uuid import UUID

from django.dispatch import receiver

from apps.inference.signals import images_rejected, rejection_withdrawn, study_restored, study_withdrawn
from apps.quality.services import count_again
from apps.reports.models import Report
from apps.reports.signals import report_signed, results_drafted


@receiver([report_signed, images_rejected, rejection_withdrawn, study_withdrawn, study_restored])
def _count_again(*, study_id: UUID, **_: Any) -> None:
    count_again(study_id=study_id)


@receiver(results_drafted)
def _compare_late_results(*, study_ids: Collection[UUID], **_: Any) -> None:
    signed = Report.objects.filter(study__in=study_ids).order_by()
    for study_id in set(signed.values_list("study_id", flat=True)):
        count_again(study_id=study_id)

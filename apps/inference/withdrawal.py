"""Services that withdraw and restore a study with its jobs, and that queue studies after a decision about images."""

from collections.abc import Collection
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Now

from apps.accounts.models import User
from apps.core.work_queue import OPEN_STATES, JobState
from apps.inference.models import InferenceJob
from apps.inference.requests import request_inference
from apps.inference.signals import study_restored, study_withdrawn
from apps.studies import changes
from apps.studies.models import Study
from apps.tenants.models import Membership

WITHDRAWN = "study-withdrawn"


def withdraw_study(*, study_id: UUID, reason: str, user: User, membership: Membership | None) -> Study:
    """Withdraw a study and end its open job, whose worker then writes nothing; raises as ``changes.mark_withdrawn``."""
    with transaction.atomic():
        study = changes.mark_withdrawn(study_id=study_id, reason=reason, user=user, membership=membership)
        InferenceJob.objects.filter(study=study, state__in=OPEN_STATES).update(
            state=JobState.REJECTED,
            reason_code=WITHDRAWN,
            reason="The study was withdrawn.",
            lease_until=None,
            finished=Now(),
        )
        study_withdrawn.send(Study, study_id=study.pk, user_id=user.pk)
    return study


def restore_study(*, study_id: UUID, user: User, membership: Membership | None) -> Study:
    """Restore a study, and queue it where it has no result or new images; raises as ``changes.mark_restored``."""
    with transaction.atomic():
        before = Study.objects.filter(pk=study_id).values_list("withdrawn", flat=True).first()
        study = changes.mark_restored(study_id=study_id, user=user, membership=membership)
        latest = InferenceJob.objects.filter(study=study).order_by("-id").first()
        has_new_images = study.series.filter(instances__received__gt=before).exists() if before else False
        if latest is None or latest.reason_code == WITHDRAWN or has_new_images:
            request_inference(study_id=study.pk)
        study_restored.send(Study, study_id=study.pk, user_id=user.pk)
    return study


def read_again(*, study_ids: Collection[UUID]) -> None:
    """Queue studies that are not withdrawn, after a decision that may change which of their images is read."""
    for study in Study.objects.filter(pk__in=study_ids, withdrawn__isnull=True):
        request_inference(study_id=study.pk)

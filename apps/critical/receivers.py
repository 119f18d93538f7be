"""What closes and opens notices when images are rejected and studies are withdrawn or restored; and the sweep."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.dispatch import receiver

from apps.critical.escalation import sweep
from apps.critical.models import Closing
from apps.critical.notices import close_notices, reopen_notices
from apps.inference.signals import images_rejected, study_restored, study_withdrawn, swept


@receiver(images_rejected)
def _close_of_images(*, study_id: UUID, images: Sequence[str], user_id: UUID | None, **_: Any) -> None:
    close_notices(study_id=study_id, closing=Closing.REJECTED, images=images, user_id=user_id)


@receiver(study_withdrawn)
def _close_of_study(*, study_id: UUID, user_id: UUID, **_: Any) -> None:
    close_notices(study_id=study_id, closing=Closing.WITHDRAWN, user_id=user_id)


@receiver(study_restored)
def _open_again(*, study_id: UUID, user_id: UUID, **_: Any) -> None:
    reopen_notices(study_id=study_id, closing=Closing.WITHDRAWN, user_id=user_id)


@receiver(swept)
def _sweep(**_: Any) -> None:
    sweep()

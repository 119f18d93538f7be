"""Services that reject an image and withdraw a rejection: by a user, or by a Key Object Selection (IHE RAD IOCM)."""

from typing import Final
from uuid import UUID

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.accounts.models import User
from apps.audit.models import AuditEvent
from apps.audit.services import Actor, record, user_actor
from apps.core.errors import ConflictError, InvalidInputError, NotFoundError
from apps.core.text import clean_text
from apps.inference.requests import request_reading_if_due
from apps.inference.signals import images_rejected, rejection_withdrawn
from apps.registry import engine
from apps.studies.conflicts import review_images
from apps.studies.models import ImageRejection, Instance, Study
from apps.tenants.models import Membership, Role
from apps.tenants.services import require_role

MAY_REJECT: Final = (Role.TECHNOLOGIST, Role.RADIOLOGIST)
LONGEST_REASON: Final = 1_000
_ROWS_AT_ONCE: Final = 500


def reject_image(
    *, study: Study, sop_instance_uid: str, code: str, reason: str, user: User, membership: Membership | None
) -> ImageRejection:
    """Reject an image. If it was the one that was read, the study is read again from its next image.

    Args:
        code: of `ImageRejection.Code` (PS3.16 CID 7011).
        reason: the user's comment; may be empty.

    Raises:
        NotPermittedError: the member is neither technologist nor radiologist.
        NotFoundError: the study has no such image.
        InvalidInputError: there is no such code, or the reason is too long.
        ConflictError: the image is rejected already.
    """
    require_role(membership, *MAY_REJECT)
    if code not in ImageRejection.Code.values:
        raise InvalidInputError(_("Choose one of the reasons for a rejection."), "rejection-code-unknown")
    text = clean_text(" ".join(reason.split()), name="reason", longest=LONGEST_REASON)
    with transaction.atomic():
        locked = _lock(study.pk)
        instance = _image(study, sop_instance_uid)
        if _in_force(study, sop_instance_uid) is not None:
            raise ConflictError(_("This image is rejected already."), "image-rejected-already")
        by = user_actor(user.pk)
        rejection = ImageRejection.objects.create(
            study=study, sop_instance_uid=sop_instance_uid, code=code, reason=text, rejected_by=user, actor=by.name
        )
        record(action=AuditEvent.Action.IMAGE_REJECTED, by=by, object_id=instance.pk)
        images_rejected.send(ImageRejection, study_id=study.pk, images=[sop_instance_uid], user_id=user.pk)
        review_images(locked, by=by)
        request_reading_if_due(study_id=study.pk)
    return rejection


def withdraw_rejection(*, study: Study, sop_instance_uid: str, user: User, membership: Membership | None) -> None:
    """Withdraw a rejection: the image may be read again, and is read if it is the first in reading order.

    Raises:
        NotPermittedError: the member is neither technologist nor radiologist.
        NotFoundError: the study has no such image.
        ConflictError: the image is not rejected.
    """
    require_role(membership, *MAY_REJECT)
    with transaction.atomic():
        locked = _lock(study.pk)
        instance = _image(study, sop_instance_uid)
        rejection = _in_force(study, sop_instance_uid)
        if rejection is None:
            raise ConflictError(_("This image is not rejected."), "image-not-rejected")
        rejection.withdrawn_by, rejection.withdrawn_at = user, timezone.now()
        rejection.save()
        record(action=AuditEvent.Action.IMAGE_REJECTION_WITHDRAWN, by=user_actor(user.pk), object_id=instance.pk)
        rejection_withdrawn.send(ImageRejection, study_id=study.pk)
        review_images(locked, by=user_actor(user.pk))
        request_reading_if_due(study_id=study.pk)


def record_rejection_note(*, study_id: UUID, document: Instance, note: "engine.RejectionNote", by: Actor) -> None:
    """Reject the images that a document of the study names, also those that have not arrived; its row is locked."""
    rows = [
        ImageRejection(study_id=study_id, sop_instance_uid=uid, code=note.code, document=document, actor=by.name)
        for uid in note.instances
    ]
    ImageRejection.objects.bulk_create(rows, batch_size=_ROWS_AT_ONCE, ignore_conflicts=True)
    record(action=AuditEvent.Action.IMAGE_REJECTED, by=by, object_id=document.pk, amount=len(rows))
    images_rejected.send(ImageRejection, study_id=study_id, images=list(note.instances), user_id=None)
    review_images(_lock(study_id), by=by)
    request_reading_if_due(study_id=study_id)


def _lock(study_id: UUID) -> Study:
    """The study, locked: code that stores its instances or ends its jobs waits until the transaction ends."""
    study = Study.objects.select_for_update(no_key=True).filter(pk=study_id).first()
    if study is None:
        raise NotFoundError(_("There is no such study in this hospital."), "study-not-found")
    return study


def _image(study: Study, sop_instance_uid: str) -> Instance:
    images = Instance.objects.filter(series__study=study, rows__isnull=False)
    image = images.filter(sop_instance_uid=sop_instance_uid).first()
    if image is None:
        raise NotFoundError(_("This study has no such image."), "image-not-found")
    return image


def _in_force(study: Study, sop_instance_uid: str) -> ImageRejection | None:
    rows = ImageRejection.objects.filter(study=study, sop_instance_uid=sop_instance_uid, withdrawn_at=None)
    return rows.first()

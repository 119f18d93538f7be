"""Decides which image of a study is read, and whether the study must be read again after an image arrived."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from apps.core.work_queue import OPEN_STATES, JobState
from apps.inference.models import InferenceJob
from apps.registry import engine
from apps.studies.models import ImageRejection, Instance
from apps.studies.reading_order import reading_order
from apps.tenants.scope import tenant_tx

# Each image with three facts: whether it is rejected now, which rule of the tenant stored it only, and whether a job
# ended with its refusal (in decoding or in the network). A refusal because of a lost object does not count once the
# object has been restored.
_CANDIDATES: Final = """
select i.*, s.study_id, s.series_description,
       (select r.code from studies_imagerejection r
         where r.tenant_id = i.tenant_id and r.study_id = s.study_id and r.sop_instance_uid = i.sop_instance_uid
           and r.withdrawn_at is null) as rejection_code,
       (select m.rule_name from routing_rulematch m
         where m.tenant_id = i.tenant_id and m.instance_id = i.id and m.action = 'store'
           and m.released is null) as stored_only_by,
       exists (select from inference_inferencejob j
                where j.tenant_id = i.tenant_id and j.instance_id = i.id and j.state = 'rejected'
                  and j.reason_code <> all(%s)
                  and not (j.reason_code = any(%s) and coalesce(j.finished < i.restored, false))) as was_refused
  from studies_instance i join studies_series s on s.tenant_id = i.tenant_id and s.id = i.series_id
 where s.study_id = any(%s::uuid[]) and i.rows is not null and not i.is_held
"""
IMAGE_REJECTED: Final = "image-rejected"
STORED_BY_RULE: Final = "stored-by-rule"
LOST_OBJECTS: Final = ("object-missing", "object-damaged")
NO_IMAGE: Final = "no-image"
# Where no image can be read, the study shows the reason of the image that came nearest to being read.
_NEAREST: Final = (IMAGE_REJECTED, STORED_BY_RULE, "codestream-mismatch", "multi-frame", "for-processing")
_FARTHEST: Final = ("not-for-clinical-use", "derived-image", "own-object")


@dataclass(frozen=True)
class ImageChoice:
    """The image to read; or the image whose refusal is shown, where all are refused."""

    instance: Instance | None
    refusal: "engine.InputCheckResult | None" = None


def candidate_images_in_tenant(tenant_id: UUID, study_ids: Sequence[UUID]) -> dict[UUID, list[Instance]]:
    """The images of several studies, by study; called outside a transaction."""
    found: dict[UUID, list[Instance]] = {}
    with tenant_tx(tenant_id):
        for instance in _candidates(study_ids):
            found.setdefault(instance.study_id, []).append(instance)
    return found


def candidate_images(study_id: UUID) -> list[Instance]:
    """The images of a study of the tenant in force."""
    return list(_candidates([study_id]))


def _candidates(study_ids: Sequence[UUID]) -> Iterable[Any]:
    return Instance.objects.raw(_CANDIDATES, [[IMAGE_REJECTED, STORED_BY_RULE], list(LOST_OBJECTS), list(study_ids)])


def choose_image(images: Iterable[Instance]) -> ImageChoice:
    """The first image in reading order that passes the check of its attributes; those refused before come last.

    Args:
        images: the images of one study, from ``candidate_images``.
    """
    allowed: list[Any] = []
    refused: list[ImageChoice] = []
    for image in reading_order(images):
        result = _check(image)
        if result.accepted:
            allowed.append(image)
        else:
            refused.append(ImageChoice(image, result))
    if allowed:
        return ImageChoice(min(allowed, key=lambda image: image.was_refused))
    if refused:
        return min(refused, key=_distance)
    return ImageChoice(None, engine.InputCheckResult(False, NO_IMAGE, "The study has no image."))


def _check(image: Any) -> "engine.InputCheckResult":
    if image.rejection_code:
        why = ImageRejection.Code(image.rejection_code).label.lower()
        return engine.InputCheckResult(False, IMAGE_REJECTED, f"The image was rejected: {why}.")
    if image.stored_only_by is not None:
        detail = f"The hospital's rule “{image.stored_only_by}” stores this image without having it read."
        return engine.InputCheckResult(False, STORED_BY_RULE, detail)
    attributes = {"SeriesDescription": image.series_description, **image.attributes}
    return engine.check_attributes(attributes, image.sop_class_uid, image.rows, image.columns, image.unreadable)


def _distance(choice: ImageChoice) -> int:
    assert choice.refusal is not None
    code = choice.refusal.reason or ""
    if code in _NEAREST:
        return _NEAREST.index(code)
    return len(_NEAREST) + (1 + _FARTHEST.index(code) if code in _FARTHEST else 0)


def is_reading_due(study_id: UUID) -> bool:
    """Whether the image to read is another one than that of the study's latest job.

    The caller has locked the study's row. A worse image, or one that was refused before, needs no new job. An open job
    needs none either, because it chooses its image later, or checks for new images before it ends.
    """
    latest = InferenceJob.objects.filter(study=study_id).order_by("-id").first()
    if latest is not None and latest.state in OPEN_STATES:
        return False
    images: list[Any] = candidate_images(study_id)
    choice = choose_image(images)
    if choice.instance is None:
        return False
    if latest is None or latest.state == JobState.FAILED:
        return True
    if latest.state == JobState.COMPLETE:
        if choice.instance.pk == latest.instance_id and choice.refusal is None:
            return False
        was_rejected = any(image.pk == latest.instance_id and image.rejection_code for image in images)
        return was_rejected or (choice.refusal is None and not _was_refused(choice.instance))
    if choice.refusal is None:
        return not _was_refused(choice.instance)
    return (choice.instance.pk, choice.refusal.reason) != (latest.instance_id, latest.reason_code)


def _was_refused(image: Any) -> bool:
    return bool(image.was_refused)

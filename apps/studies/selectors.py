"""Reading studies of the tenant in force."""

from collections.abc import Sequence
from uuid import UUID

from django.db.models import Q, QuerySet

from apps.core.errors import NotFoundError
from apps.studies.models import ImageRejection, Instance, Study


def get_study(study_instance_uid: str) -> Study:
    """The study that DICOM and REST know by its StudyInstanceUID (PS3.3 C.7.2.1).

    Raises:
        NotFoundError: the tenant in force has no such study.
    """
    return _get(Q(study_instance_uid=study_instance_uid))


def get_study_by_id(pk: UUID) -> Study:
    """The study of a page of the portal; its URLs carry our own key, because a StudyInstanceUID identifies a patient.

    Raises:
        NotFoundError: the tenant in force has no such study.
    """
    return _get(Q(pk=pk))


def _get(condition: Q) -> Study:
    study = Study.objects.select_related("patient").filter(condition).first()
    if study is None:
        raise NotFoundError("There is no such study in this hospital.", "study-not-found")
    return study


def instances_of(study: Study) -> list[Instance]:
    """The study's images, oldest first."""
    return list(_of(study).filter(rows__isnull=False))


def other_objects_of(study: Study) -> list[Instance]:
    """What is stored with the study and is no image, oldest first: reports, presentation states, key objects."""
    return list(_of(study).filter(rows__isnull=True))


def studies_with_rejections(study_ids: Sequence[UUID]) -> list[UUID]:
    """Those of some studies of which an image was rejected, now or before."""
    return list(ImageRejection.objects.filter(study__in=study_ids).values_list("study_id", flat=True))


def _of(study: Study) -> "QuerySet[Instance]":
    return Instance.objects.filter(series__study=study).select_related("series").order_by("received", "id")

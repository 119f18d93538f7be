"""Selectors for studies, images and rejections of the tenant in force."""

from collections.abc import Sequence
from uuid import UUID

from django.db.models import Count, Exists, OuterRef, Q, QuerySet

from apps.core.errors import NotFoundError, WithdrawnError
from apps.studies.models import DemographicsConflict, ImageRejection, Instance, Study


def get_study(study_instance_uid: str) -> Study:
    """The study with this StudyInstanceUID (PS3.3 C.7.2.1), for DICOM and REST.

    Raises:
        NotFoundError: the tenant in force has no such study.
        WithdrawnError: it was withdrawn.
    """
    return _get(Q(study_instance_uid=study_instance_uid), even_withdrawn=False)


def get_study_by_id(pk: UUID, *, even_withdrawn: bool = False) -> Study:
    """The study with this primary key, for the portal: its URLs do not contain UIDs, which identify a patient.

    Raises:
        NotFoundError: the tenant in force has no such study.
        WithdrawnError: it was withdrawn, and the caller did not set ``even_withdrawn``.
    """
    return _get(Q(pk=pk), even_withdrawn=even_withdrawn)


def _get(condition: Q, *, even_withdrawn: bool) -> Study:
    studies = Study.objects.select_related("patient", "withdrawn_by").annotate(demographics_conflict=in_conflict())
    study = studies.filter(condition).first()
    if study is None:
        raise NotFoundError("There is no such study in this hospital.", "study-not-found")
    if study.withdrawn is not None and not even_withdrawn:
        raise WithdrawnError(
            "This study was withdrawn. A member of the hospital can restore it on its page.", "study-withdrawn"
        )
    return study


def in_conflict() -> Q:
    """A query condition: whether a study or its patient has a demographics conflict that is not settled."""
    unsettled = DemographicsConflict.objects.filter(settled__isnull=True)
    return Exists(unsettled.filter(study=OuterRef("pk"))) | Exists(unsettled.filter(patient=OuterRef("patient_id")))


def is_in_conflict(study_id: UUID) -> bool:
    """As ``in_conflict``, for one study."""
    return Study.objects.filter(in_conflict(), pk=study_id).exists()


def instances_of(study: Study) -> list[Instance]:
    """The study's images that may be read and shown, oldest first: without those that name another patient."""
    return list(_of(study).filter(rows__isnull=False, is_held=False))


def other_objects_of(study: Study) -> list[Instance]:
    """The study's instances that are not images, oldest first: reports, presentation states, key objects."""
    return list(_of(study).filter(rows__isnull=True))


def rejections_of(study: Study) -> dict[str, ImageRejection]:
    """The rejections in force, by SOP Instance UID; also of images that have not arrived yet."""
    rows = ImageRejection.objects.filter(study=study, withdrawn_at=None).select_related("rejected_by")
    return {row.sop_instance_uid: row for row in rows}


def count_images(study_ids: Sequence[UUID]) -> dict[UUID, int]:
    """The number of images of each study; a study without images is left out."""
    images = Instance.objects.filter(series__study__in=study_ids, rows__isnull=False, is_held=False)
    return dict(images.values_list("series__study").annotate(count=Count("id")).order_by())


def studies_with_rejections(study_ids: Sequence[UUID]) -> list[UUID]:
    """The studies among these with a rejected image, even where the rejection was withdrawn."""
    return list(ImageRejection.objects.filter(study__in=study_ids).values_list("study_id", flat=True))


def _of(study: Study) -> "QuerySet[Instance]":
    return Instance.objects.filter(series__study=study).select_related("series").order_by("received", "id")

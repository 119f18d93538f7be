"""Reading studies of the tenant in force."""

from collections.abc import Sequence
from uuid import UUID

from django.db.models import Count, Exists, OuterRef, Q, QuerySet

from apps.core.errors import NotFoundError, WithdrawnError
from apps.studies.models import DemographicsConflict, ImageRejection, Instance, Study


def get_study(study_instance_uid: str) -> Study:
    """The study that DICOM and REST know by its StudyInstanceUID (PS3.3 C.7.2.1).

    Raises:
        NotFoundError: the tenant in force has no such study.
        WithdrawnError: it was withdrawn.
    """
    return _get(Q(study_instance_uid=study_instance_uid), even_withdrawn=False)


def get_study_by_id(pk: UUID, *, even_withdrawn: bool = False) -> Study:
    """The study of a page of the portal; its URLs carry our own key, because a StudyInstanceUID identifies a patient.

    Raises:
        NotFoundError: the tenant in force has no such study.
        WithdrawnError: it was withdrawn, and the caller did not ask for ``even_withdrawn``.
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
    """For a query of studies: whether demographics of the study or of its patient contradict each other, unsettled."""
    unsettled = DemographicsConflict.objects.filter(settled__isnull=True)
    return Exists(unsettled.filter(study=OuterRef("pk"))) | Exists(unsettled.filter(patient=OuterRef("patient_id")))


def is_in_conflict(study_id: UUID) -> bool:
    """As ``in_conflict``, for one study."""
    return Study.objects.filter(in_conflict(), pk=study_id).exists()


def instances_of(study: Study) -> list[Instance]:
    """The study's images that may be read and shown, oldest first: without those that name another patient."""
    return list(_of(study).filter(rows__isnull=False, is_held=False))


def other_objects_of(study: Study) -> list[Instance]:
    """What is stored with the study and is no image, oldest first: reports, presentation states, key objects."""
    return list(_of(study).filter(rows__isnull=True))


def rejections_of(study: Study) -> dict[str, ImageRejection]:
    """The rejections in force, by SOP Instance UID; also of images that have not come yet."""
    rows = ImageRejection.objects.filter(study=study, withdrawn_at=None).select_related("rejected_by")
    return {row.sop_instance_uid: row for row in rows}


def count_images(study_ids: Sequence[UUID]) -> dict[UUID, int]:
    """How many images each of some studies has; one without images is left out."""
    images = Instance.objects.filter(series__study__in=study_ids, rows__isnull=False, is_held=False)
    return dict(images.values_list("series__study").annotate(count=Count("id")).order_by())


def studies_with_rejections(study_ids: Sequence[UUID]) -> list[UUID]:
    """Those of some studies of which an image was rejected, now or before."""
    return list(ImageRejection.objects.filter(study__in=study_ids).values_list("study_id", flat=True))


def _of(study: Study) -> "QuerySet[Instance]":
    return Instance.objects.filter(series__study=study).select_related("series").order_by("received", "id")

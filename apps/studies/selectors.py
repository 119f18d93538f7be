"""Reading studies of the tenant in force."""

from uuid import UUID

from django.db.models import Q

from apps.core.errors import NotFoundError
from apps.studies.models import Instance, Study


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
    """Oldest first."""
    return list(Instance.objects.filter(series__study=study).order_by("received", "id"))

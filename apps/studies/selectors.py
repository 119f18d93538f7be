"""Reading studies of the tenant in force."""

from apps.core.errors import NotFoundError
from apps.studies.models import Instance, Study


def get_study(study_instance_uid: str) -> Study:
    study = Study.objects.select_related("patient").filter(study_instance_uid=study_instance_uid).first()
    if study is None:
        raise NotFoundError("There is no such study in this hospital.", "study-not-found")
    return study


def instances_of(study: Study) -> list[Instance]:
    """Oldest first."""
    return list(Instance.objects.filter(series__study=study).order_by("received", "id"))

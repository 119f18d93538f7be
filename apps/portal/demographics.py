"""Selectors for the pages about a study's patient: conflicts, decisions and withdrawn studies."""

from collections.abc import Iterable
from dataclasses import dataclass

from django.db.models import Q
from django.utils.translation import gettext_lazy

from apps.studies.conflicts import open_conflicts_of, persons_under
from apps.studies.models import DemographicsConflict, Patient, Study
from apps.studies.settlement import ConflictSide, differing_between, sides_of, token_of

_ATTRIBUTES = {
    "PatientID": gettext_lazy("patient ID"),
    "PatientName": gettext_lazy("name"),
    "PatientBirthDate": gettext_lazy("birth date"),
    "PatientSex": gettext_lazy("sex"),
}
_LISTED = 100


@dataclass(frozen=True)
class ShownConflict:
    """A conflict with its contradicting sides."""

    conflict: DemographicsConflict
    sides: list[ConflictSide]

    @property
    def is_of_images(self) -> bool:
        return self.conflict.study_id is not None

    @property
    def seen(self) -> str:
        return token_of(self.sides)

    @property
    def differing(self) -> list[str]:
        return [str(_ATTRIBUTES[name]) for name in differing_between(self.sides)]

    @property
    def numbered(self) -> list[tuple[int, ConflictSide]]:
        return list(enumerate(self.sides, start=1))


@dataclass(frozen=True)
class PatientChoice:
    """A patient that a study may be moved to, with the names that its studies state."""

    patient: Patient
    names: list[str]


def shown_conflicts(study: Study) -> list[ShownConflict]:
    """The open conflicts that concern a study."""
    return _shown(open_conflicts_of(study).select_related("study", "patient").order_by("opened"))


def open_conflicts() -> list[ShownConflict]:
    """The open conflicts of the tenant in force, the oldest first; the first hundred."""
    unsettled = DemographicsConflict.objects.filter(settled__isnull=True)
    return _shown(unsettled.select_related("study", "patient").order_by("opened")[:_LISTED])


def decisions_about(study: Study) -> list[DemographicsConflict]:
    """The settled conflicts of a study or its patient, the newest first."""
    concerned = Q(study=study) | Q(patient=study.patient_id) | Q(decision__divided__contains=[str(study.patient_id)])
    decided = DemographicsConflict.objects.filter(concerned, settled__isnull=False)
    return list(decided.select_related("settled_by", "reopened_by").order_by("-settled"))


def patients_with_id(patient_id: str, issuer: str) -> list[PatientChoice]:
    """The patients of the tenant in force under a PatientID: one, or several who share it."""
    found = persons_under(patient_id, issuer).prefetch_related("studies")
    return [PatientChoice(each, sorted({study.full_name for study in each.studies.all()})) for each in found]


def withdrawn_studies() -> list[Study]:
    """The withdrawn studies of the tenant in force, the newest first; the first hundred."""
    withdrawn = Study.objects.filter(withdrawn__isnull=False).select_related("patient", "withdrawn_by")
    return list(withdrawn.order_by("-withdrawn")[:_LISTED])


def _shown(conflicts: Iterable[DemographicsConflict]) -> list[ShownConflict]:
    return [ShownConflict(conflict, sides_of(conflict)) for conflict in conflicts]

"""Selectors for studies, images and rejections of the tenant in force."""

import datetime
from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from django.db.models import Count, Exists, OuterRef, Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.core.errors import NotFoundError, WithdrawnError
from apps.studies.models import DemographicsConflict, ImageRejection, Instance, Series, Study

# Why an image is not read, where it may show findings: it was made from other images, or by this product.
OWN_OBJECT: Final = "own-object"
SHOWS_FINDINGS: Final = ("derived-image", OWN_OBJECT)


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
        raise NotFoundError(_("There is no such study in this hospital."), "study-not-found")
    if study.withdrawn is not None and not even_withdrawn:
        raise WithdrawnError(
            _("This study was withdrawn. A member of the hospital can restore it on its page."), "study-withdrawn"
        )
    return study


def in_conflict() -> Q:
    """A query condition: whether a study or its patient has a demographics conflict that is not settled."""
    unsettled = DemographicsConflict.objects.filter(settled__isnull=True)
    return Exists(unsettled.filter(study=OuterRef("pk"))) | Exists(unsettled.filter(patient=OuterRef("patient_id")))


def is_in_conflict(study_id: UUID) -> bool:
    """As ``in_conflict``, for one study."""
    return Study.objects.filter(in_conflict(), pk=study_id).exists()


def earlier_studies_of(study: Study, most: int) -> list[Study]:
    """The patient's earlier studies, the newest first: under the same PatientID and issuer, and not withdrawn.

    None where the identity is uncertain: the patient has a placeholder PatientID, or the study or the patient has a
    conflict that is not settled. A study in conflict is never an earlier study of another one.
    """
    if not study.patient.is_identified or not study.patient.patient_id or is_in_conflict(study.pk):
        return []
    others = Study.objects.filter(~in_conflict(), patient=study.patient_id, withdrawn__isnull=True).exclude(pk=study.pk)
    return sorted((other for other in others if _taken(other) < _taken(study)), key=_taken, reverse=True)[:most]


def _taken(study: Study) -> tuple[Any, ...]:
    """When a study was taken, to order a patient's studies; one without a date counts by its arrival."""
    day = study.study_date or timezone.localdate(study.received)
    return day, study.study_time or datetime.time.min, study.received


def instances_of(study: Study) -> list[Instance]:
    """The study's images that may be read and shown, oldest first.

    Images that name another patient are left out, and pictures of our own results: they show findings, which the page
    shows only to those who may see them.
    """
    return list(_of(study).filter(rows__isnull=False, is_held=False).exclude(unreadable=OWN_OBJECT))


def visible_instances(*, with_results: bool = True) -> "QuerySet[Instance]":
    """The instances that DICOM peers may find and get: of studies that were not withdrawn, without held images.

    Args:
        with_results: False leaves out documents, and images that may show findings: what a person gets who may not see
            any (`apps.tenants.services.sees_findings`).
    """
    found = Instance.objects.filter(is_held=False, series__study__withdrawn__isnull=True)
    return found if with_results else found.filter(rows__isnull=False).exclude(unreadable__in=SHOWS_FINDINGS)


def other_objects_of(study: Study) -> list[Instance]:
    """The study's instances that are not images, oldest first: reports, presentation states, key objects."""
    return list(_of(study).filter(rows__isnull=True))


def rejections_of(study: Study) -> dict[str, ImageRejection]:
    """The rejections in force, by SOP Instance UID; also of images that have not arrived yet."""
    rows = ImageRejection.objects.filter(study=study, withdrawn_at=None).select_related("rejected_by")
    return {row.sop_instance_uid: row for row in rows}


def count_images(study_ids: Sequence[UUID]) -> dict[UUID, int]:
    """The number of images of each study, without pictures of our own results; a study without any is left out."""
    images = Instance.objects.filter(series__study__in=study_ids, rows__isnull=False, is_held=False)
    images = images.exclude(unreadable=OWN_OBJECT)
    return dict(images.values_list("series__study").annotate(count=Count("id")).order_by())


def modalities_of(study_ids: Sequence[UUID]) -> dict[UUID, list[str]]:
    """The modalities of the series of each study, sorted; a study of which none is known is left out."""
    found: dict[UUID, list[str]] = {}
    series = Series.objects.filter(study__in=study_ids).exclude(modality="").order_by("modality")
    for study_id, modality in series.values_list("study_id", "modality").distinct():
        found.setdefault(study_id, []).append(modality)
    return found


def studies_with_rejections(study_ids: Sequence[UUID]) -> list[UUID]:
    """The studies among these with a rejected image, even where the rejection was withdrawn."""
    return list(ImageRejection.objects.filter(study__in=study_ids).values_list("study_id", flat=True))


def _of(study: Study) -> "QuerySet[Instance]":
    return Instance.objects.filter(series__study=study).select_related("series").order_by("received", "id")

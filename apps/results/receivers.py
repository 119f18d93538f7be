"""What follows for result objects from a signature and from a correction of a patient.

The rows that change are `Report` and `Study`, whose packages do not know this one.
"""

from collections.abc import Collection
from typing import Any

from django.db.models.signals import post_save
from django.dispatch import receiver

from apps.reports.models import Report
from apps.results.models import ResultObject
from apps.results.services import request_results
from apps.studies.conflicts import DEMOGRAPHICS
from apps.studies.models import Study

_PATIENT = {"patient", *DEMOGRAPHICS}


@receiver(post_save, sender=Report)
def create_objects_of_signed_report(instance: Report, **_: Any) -> None:
    request_results(study_ids=[instance.study_id])


@receiver(post_save, sender=Study)
def create_objects_with_corrected_patient(
    instance: Study, created: bool, update_fields: Collection[str] | None, **_: Any
) -> None:
    """Only where there are objects that say otherwise: a study without a result gets its objects with the result."""
    if created or not _PATIENT & set(update_fields or _PATIENT):
        return
    if ResultObject.objects.filter(study=instance).exists():
        request_results(study_ids=[instance.pk])

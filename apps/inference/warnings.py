"""Warnings about an image that was read: one list for the page, the report and the API."""

import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from uuid import UUID

from apps.core.work_queue import JobState
from apps.inference.models import InferenceJob
from apps.inference.stored_texts import stored_text
from apps.registry import engine
from apps.registry.models import ModelVersion
from apps.studies.models import Study

# For stored warnings from before they had codes.
_UNCODED = "image-note"
# What says something about maps says nothing where the image was refused.
_ABOUT_MAPS = frozenset({"thorax-not-found"})
# Where left and right of the image are not known, a zone could name the wrong side.
_SIDES_UNKNOWN = frozenset({"orientation-unclear", "orientation-contradicts-view"})


@dataclass(frozen=True)
class CodedWarning:
    """A stable code, and a text for the reader."""

    code: str
    detail: str


def warnings_of(*, study: Study, job: InferenceJob | None) -> list[CodedWarning]:
    """The warnings about the image that a job read and about its patient; empty where no image was read.

    The patient's age is checked here and not when the image was read, so that a corrected birth date is used.
    """
    if job is None or job.instance is None:
        return []
    found = [*_coded(job.warnings), *_coded(job.instance.warnings)]
    if job.state != JobState.COMPLETE:
        found = [each for each in found if each.code not in _ABOUT_MAPS]
    if job.model_version_id is not None:
        on = study.study_date or study.received.date()
        found += age_warnings(
            job.model_version_id, birth_date=study.patient_birth_date, on=on, patient_age=study.patient_age
        )
    return [CodedWarning(each.code, stored_text(each.code, each.detail)) for each in dict.fromkeys(found)]


def age_warnings(
    version_id: UUID, *, birth_date: datetime.date | None, on: datetime.date, patient_age: str
) -> list[CodedWarning]:
    """Whether a patient's age is outside the range that a version was validated on; empty where it is not known."""
    odd = engine.age_warning(_data_of(version_id), birth_date, on, patient_age)
    return [CodedWarning(odd.code, odd.detail)] if odd else []


def has_known_sides(job: InferenceJob) -> bool:
    """Whether it is known that the left side of the image that a job read is the patient's right."""
    return _SIDES_UNKNOWN.isdisjoint(warned.code for warned in _coded(job.warnings))


def _coded(stored: Iterable[Any]) -> list[CodedWarning]:
    return [
        CodedWarning(each["code"], each["detail"]) if isinstance(each, dict) else CodedWarning(_UNCODED, str(each))
        for each in stored
    ]


@lru_cache(maxsize=64)
def _data_of(version_id: UUID) -> Mapping[str, Any]:
    """The part of a version's manifest that is needed; it is cached, as versions never change."""
    ages = ModelVersion.objects.values_list(f"manifest__data__{engine.VALIDATED_AGES}", flat=True).get(pk=version_id)
    return {engine.VALIDATED_AGES: ages}

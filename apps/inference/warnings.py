"""What a reader should know about an image that was read all the same: one list for page, report and API."""

import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from uuid import UUID

from apps.inference.models import InferenceJob
from apps.registry import engine
from apps.registry.models import ModelVersion
from apps.studies.models import Study

# A sentence from before warnings had codes.
_UNCODED = "image-note"
# Where the picture's sides are not known, a zone would name the wrong one.
_SIDES_UNKNOWN = frozenset({"orientation-unclear", "orientation-contradicts-view"})


@dataclass(frozen=True)
class Warned:
    """A stable code, and a sentence for the reader."""

    code: str
    detail: str


def warnings_of(*, study: Study, job: InferenceJob | None) -> list[Warned]:
    """What is odd about the image that a job read and about its patient; empty where no image was read.

    The patient's age is compared here and not when the image was read, so that a corrected birth date counts.
    """
    if job is None or job.instance is None:
        return []
    found = [*_coded(job.warnings), *_coded(job.instance.warnings)]
    if job.model_version_id is not None:
        on = study.study_date or study.received.date()
        found += age_warnings(
            job.model_version_id, birth_date=study.patient_birth_date, on=on, patient_age=study.patient_age
        )
    return list(dict.fromkeys(found))


def age_warnings(
    version_id: UUID, *, birth_date: datetime.date | None, on: datetime.date, patient_age: str
) -> list[Warned]:
    """Whether a patient's age is outside the range that a version was validated on; empty where it is not known."""
    odd = engine.age_warning(_data_of(version_id), birth_date, on, patient_age)
    return [Warned(odd.code, odd.detail)] if odd else []


def knows_its_sides(job: InferenceJob) -> bool:
    """Whether the left of the picture that a job read is the patient's right."""
    return _SIDES_UNKNOWN.isdisjoint(warned.code for warned in _coded(job.warnings))


def _coded(stored: Iterable[Any]) -> list[Warned]:
    return [
        Warned(each["code"], each["detail"]) if isinstance(each, dict) else Warned(_UNCODED, str(each))
        for each in stored
    ]


@lru_cache(maxsize=64)
def _data_of(version_id: UUID) -> Mapping[str, Any]:
    """A version is never changed, and its manifest is large."""
    ages = ModelVersion.objects.values_list(f"manifest__data__{engine.VALIDATED_AGES}", flat=True).get(pk=version_id)
    return {engine.VALIDATED_AGES: ages}

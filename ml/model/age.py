"""Compare a patient's age with the ages that a model version was validated on."""

import datetime
import re
from collections.abc import Mapping
from typing import Any, Final

from ml.dicom.image_warnings import ImageWarning, image_warning

VALIDATED_AGES: Final = "validated_ages"
"""Name of the range in a manifest's `data`: {"from_years": 2, "to_years": 86}, both included."""

_AGE = re.compile(r"(\d{1,3})([DWMY])")
_YEARS = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}


def age_warning(
    data: Mapping[str, Any], birth_date: datetime.date | None, on: datetime.date, patient_age: str = ""
) -> ImageWarning | None:
    """Warn where the patient is younger or older than the validated ages.

    The age from the birth date and the stated age are both checked; it is enough that one of them is outside.

    Args:
        data: the `data` of the version's manifest.
        birth_date: None where it is unknown.
        on: the day of the study.
        patient_age: Patient's Age (0010,1010), e.g. "006M" (PS3.5 section 6.2), or "".

    Returns:
        The warning `age-outside-validated-range`; None where the age is inside, or where the age or the range is
        unknown.
    """
    ages = data.get(VALIDATED_AGES)
    try:
        youngest, oldest = int(ages["from_years"]), int(ages["to_years"])  # type: ignore[index]
    except (KeyError, TypeError, ValueError):
        return None
    known = [age for age in (_years_between(birth_date, on), _stated_years(patient_age)) if age is not None]
    if all(youngest <= age <= oldest for age in known):
        return None
    than = "younger" if min(known) < youngest else "older"
    return image_warning(
        "age-outside-validated-range",
        f"The patient is {than} than the patients whose images this version was validated on ({youngest} to {oldest} "
        "years). How well it reads here is not known.",
    )


def _years_between(birth_date: datetime.date | None, on: datetime.date) -> int | None:
    if birth_date is None or birth_date > on:
        return None
    return on.year - birth_date.year - ((on.month, on.day) < (birth_date.month, birth_date.day))


def _stated_years(patient_age: str) -> int | None:
    match = _AGE.fullmatch(patient_age.strip().upper())
    return int(int(match[1]) * _YEARS[match[2]]) if match else None

"""The rules for placeholder PatientIDs, and for demographics that contradict each other."""

import datetime
import re
from collections.abc import Collection, Sequence
from typing import Final

from apps.studies.names import PersonName, comparable

# Name groups, birth date, sex; each in comparable form, empty where it is not stated.
DemographicsKey = list[str]
KEY_ATTRIBUTES: Final = ("PatientName", "PatientName", "PatientName", "PatientBirthDate", "PatientSex")

# Values that systems and users enter where no PatientID is known, in the form of ``placeholder_key``.
PLACEHOLDERS: Final = frozenset({
    "anon", "anonym", "anonymised", "anonymized", "anonymous", "anonymus", "default", "desconocido", "dummy",
    "inconnu", "na", "nan", "nil", "nn", "no", "noid", "nomrn", "none", "nopatientid", "nopid", "notapplicable",
    "notavailable", "notknown", "null", "onbekend", "patient", "patientid", "pid", "sconosciuto", "tba", "tbd",
    "temp", "test", "testing", "testpatient", "unbekannt", "undefined", "unidentified", "unk", "unknow", "unknown",
    "unknownpatient", "unnamed", "void",
})  # fmt: skip
_ONE_CHARACTER_REPEATED = re.compile(r"(?:0+|x+)")
_SEX_NOT_KNOWN = frozenset({"u", "unknown"})


def placeholder_key(patient_id: str) -> str:
    """A PatientID in the form in which placeholders are compared: letters and digits only, without case."""
    return re.sub(r"[\W_]", "", comparable(patient_id))


def is_placeholder(patient_id: str, own: Collection[str] = ()) -> bool:
    """Whether a PatientID is a value that stands for a missing one and so identifies no person.

    Args:
        own: further placeholders of the tenant, in the form of ``placeholder_key``.
    """
    key = placeholder_key(patient_id)
    return not key or bool(_ONE_CHARACTER_REPEATED.fullmatch(key)) or key in PLACEHOLDERS or key in own


def demographics_key(name: str, birth_date: datetime.date | None, sex: str) -> DemographicsKey:
    """The key by which demographics are compared. Case, spaces, trailing ^ and character width make no difference."""
    sex = comparable(sex)
    return [
        *PersonName.parse(name).keys,
        birth_date.isoformat() if birth_date else "",
        "" if sex in _SEX_NOT_KNOWN else sex,
    ]


def differ(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether two keys contradict each other. A value that only one of them states is not a contradiction.

    The SQL function ``studies_differ`` is the same rule.
    """
    return any(a and b and a != b for a, b in zip(one, other, strict=True))


def any_differ(keys: Collection[Sequence[str]]) -> bool:
    """Whether any two of the keys contradict each other."""
    distinct = list({tuple(key) for key in keys})
    return any(differ(one, other) for number, one in enumerate(distinct) for other in distinct[number + 1 :])


def differing_attributes(keys: Collection[Sequence[str]]) -> list[str]:
    """The DICOM keywords of the attributes in which the keys differ."""
    found = [
        keyword
        for keyword, values in zip(KEY_ATTRIBUTES, zip(*keys, strict=True), strict=True)
        if len(set(values) - {""}) > 1
    ]
    return list(dict.fromkeys(found))

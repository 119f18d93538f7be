"""The data types of FHIR R4 (https://hl7.org/fhir/R4/datatypes.html), from DICOM values and codes."""

import datetime
import re
import zoneinfo
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from pydicom.sr.coding import Code

from apps.results.objects.codes import OWN_SCHEME
from apps.results.objects.content import derived_uid
from apps.studies.names import PersonName

DICOM_UID: Final = "urn:dicom:uid"
URI: Final = "urn:ietf:rfc:3986"
IDENTIFIER_TYPES: Final = "http://terminology.hl7.org/CodeSystem/v2-0203"
OWN_SYSTEM: Final = f"urn:oid:{derived_uid('coding-scheme', OWN_SCHEME)}"
SYSTEMS: Final[Mapping[str, str]] = {
    "SCT": "http://snomed.info/sct",
    "DCM": "http://dicom.nema.org/resources/ontology/DCM",
    "LN": "http://loinc.org",
    "UCUM": "http://unitsofmeasure.org",
    OWN_SCHEME: OWN_SYSTEM,
}
"""The URI of each coding scheme (PS3.16 table 8-1); that of our own codes is derived from its name."""

_OID = re.compile(r"[0-2](\.(0|[1-9][0-9]*))+")
_NAME_REPRESENTATION: Final = "http://hl7.org/fhir/StructureDefinition/iso21090-EN-representation"
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_GENDERS: Final[Mapping[str, str]] = {"M": "male", "F": "female", "O": "other"}


def without_empty(value: Any) -> Any:
    """A value without empty members: FHIR JSON has no null, no empty text and no empty list or object."""
    if isinstance(value, dict):
        cleaned = {name: without_empty(each) for name, each in value.items()}
        return {name: each for name, each in cleaned.items() if each not in (None, "", [], {})}
    if isinstance(value, list | tuple):
        return [each for each in map(without_empty, value) if each not in (None, "", [], {})]
    if isinstance(value, str):
        return _CONTROL.sub(" ", value).strip()
    return value


def coding(code: Code) -> dict[str, Any]:
    """A code as a Coding; its scheme is one of `SYSTEMS`."""
    return {"system": SYSTEMS[code.scheme_designator], "code": code.value, "display": code.meaning}


def concept(code: Code) -> dict[str, Any]:
    """A code as a CodeableConcept."""
    return {"coding": [coding(code)], "text": code.meaning}


def identifier_type(code: str, display: str) -> dict[str, Any]:
    """The type of an Identifier, of HL7 v2 table 0203."""
    return {"coding": [{"system": IDENTIFIER_TYPES, "code": code, "display": display}]}


def uid_identifier(uid: str) -> dict[str, Any]:
    """A DICOM UID as an identifier (R4, ImagingStudy, implementation notes)."""
    return {"system": DICOM_UID, "value": f"urn:oid:{uid}"}


def accession_identifier(accession_number: str) -> dict[str, Any] | None:
    """An Accession Number (0008,0050) as an Identifier; None where there is none."""
    if not accession_number.strip():
        return None
    return {"use": "usual", "type": identifier_type("ACSN", "Accession ID"), "value": accession_number}


def issuer_system(issuer: str) -> str | None:
    """The URI of an Issuer of Patient ID; None where it is a plain text, which is no URI."""
    if _OID.fullmatch(issuer):
        return f"urn:oid:{issuer}"
    return issuer if urlsplit(issuer).scheme in ("urn", "http", "https") else None


def patient_identifier(patient_id: str, issuer: str) -> dict[str, Any] | None:
    """A Patient ID (0010,0020) as an Identifier, by its issuer where that is a URI; None where there is none."""
    if not patient_id.strip():
        return None
    system = issuer_system(issuer)
    return {
        "use": "usual",
        "type": identifier_type("MR", "Medical record number"),
        "system": system,
        "value": patient_id,
        "assigner": {"display": issuer if system is None else ""},
    }


def human_names(person_name: str) -> list[dict[str, Any]]:
    """A PN value (PS3.5 6.2.1.2) as names, one for each of its component groups."""
    name = PersonName.parse(person_name)
    groups = {"ABC": name.alphabetic, "IDE": name.ideographic, "SYL": name.phonetic}
    written = [(kind, group) for kind, group in groups.items() if group]
    return [_human_name(group, kind if len(written) > 1 or kind != "ABC" else "") for kind, group in written]


def _human_name(group: str, representation: str) -> dict[str, Any]:
    family, given, middle, prefix, suffix = [*(each.strip() for each in group.split("^")), "", "", "", "", ""][:5]
    return {
        "extension": [{"url": _NAME_REPRESENTATION, "valueCode": representation}] if representation else [],
        "use": "official",
        "text": " ".join(filter(None, (prefix, given, middle, family, suffix))),
        "family": family,
        "given": [given, middle],
        "prefix": [prefix],
        "suffix": [suffix],
    }


def gender(sex: str) -> str | None:
    """A Patient's Sex (0010,0040) as a code of AdministrativeGender."""
    return _GENDERS.get(sex.strip().upper(), "unknown") if sex.strip() else None


def instant(at: datetime.datetime | None) -> str | None:
    """A time as an instant, to the millisecond and with its time zone; None for None."""
    return at.isoformat(timespec="milliseconds") if at else None


def date_time(day: datetime.date | None, time: datetime.time | None, zone: zoneinfo.ZoneInfo) -> str | None:
    """A DICOM date and time, which name no time zone, as a dateTime in that of the hospital."""
    if day is None:
        return None
    if time is None:
        return day.isoformat()
    return datetime.datetime.combine(day, time.replace(microsecond=0), zone).isoformat()

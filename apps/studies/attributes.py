"""Converts DICOM attributes to model fields: dates, times, and texts cut to each column's length."""

import datetime
from collections.abc import Mapping
from typing import Any, Protocol

from apps.studies.identity import demographics_key


class InspectedInstance(Protocol):
    """The result of the preflight of an instance (``ml.dicom.preflight.Preflight``)."""

    @property
    def sop_class_uid(self) -> str: ...
    @property
    def sop_instance_uid(self) -> str: ...
    @property
    def study_instance_uid(self) -> str: ...
    @property
    def series_instance_uid(self) -> str: ...
    @property
    def transfer_syntax_uid(self) -> str: ...
    @property
    def rows(self) -> int: ...
    @property
    def columns(self) -> int: ...
    @property
    def attributes(self) -> Mapping[str, str]: ...
    @property
    def warnings(self) -> tuple[Any, ...]: ...
    @property
    def is_image(self) -> bool: ...
    @property
    def unreadable(self) -> str: ...


# What the input check and the technologist need; nothing that identifies a patient.
KEPT_WITH_INSTANCE = (
    "Modality",
    "BodyPartExamined",
    "ViewPosition",
    "PatientOrientation",
    "ImageLaterality",
    "ImageType",
    "PresentationIntentType",
    "BurnedInAnnotation",
    "Manufacturer",
    "ManufacturerModelName",
    "InstanceNumber",
    "NumberOfFrames",
    "BitsAllocated",
    "PixelAspectRatio",
    "PixelSpacing",
    "ImagerPixelSpacing",
    "NominalScannedPixelSpacing",
    "ContentQualification",
    "ConversionType",
    "ImplementationClassUID",
    "PurposeOfReferenceCodeSequence",
)


# Those of the File Meta Information (PS3.10 7.1): every application that sends the instance on writes its own.
OF_THE_FILE = ("ImplementationClassUID",)


def parse_date(value: str) -> datetime.date | None:
    """A DA value (PS3.5 6.2): YYYYMMDD, or the retired form YYYY.MM.DD; None where it is neither."""
    digits = value.strip().replace(".", "")
    try:
        return datetime.date.fromisoformat(f"{digits[:4]}-{digits[4:6]}-{digits[6:]}") if len(digits) == 8 else None
    except ValueError:
        return None


def parse_time(value: str) -> datetime.time | None:
    """A TM value (PS3.5 6.2): HH, HHMM or HHMMSS with an optional fraction; None where it is none of these."""
    digits = value.strip().replace(":", "").split(".")[0]
    if len(digits) not in (2, 4, 6) or not digits.isdecimal():
        return None
    try:
        return datetime.time(int(digits[:2]), int(digits[2:4] or 0), int(digits[4:6] or 0))
    except ValueError:
        return None


def demographics_fields(attributes: Mapping[str, str]) -> dict[str, object]:
    """The demographics that an image states: the fields of ``apps.studies.models.Demographics``."""
    name = attributes.get("PatientName", "")[:324]
    birth_date = parse_date(attributes.get("PatientBirthDate", ""))
    sex = attributes.get("PatientSex", "")[:16]
    return {
        "patient_name": name,
        "patient_birth_date": birth_date,
        "patient_sex": sex,
        "patient_age": attributes.get("PatientAge", "")[:16],
        "demographics_key": demographics_key(name, birth_date, sex),
    }


def patient_identity(attributes: Mapping[str, str]) -> dict[str, str]:
    """Patient ID and its issuer, cut to the length of their columns."""
    return {
        "patient_id": attributes.get("PatientID", "")[:64],
        "issuer_of_patient_id": attributes.get("IssuerOfPatientID", "")[:64],
    }


def study_fields(attributes: Mapping[str, str]) -> dict[str, object]:
    """The columns of a `Study` from the attributes of one of its instances."""
    return {
        "accession_number": attributes.get("AccessionNumber", "")[:64],
        "study_id": attributes.get("StudyID", "")[:64],
        "study_date": parse_date(attributes.get("StudyDate", "")),
        "study_time": parse_time(attributes.get("StudyTime", "")),
        "study_description": attributes.get("StudyDescription", "")[:255],
        "referring_physician_name": attributes.get("ReferringPhysicianName", "")[:324],
    }


def series_fields(attributes: Mapping[str, str]) -> dict[str, object]:
    """The columns of a `Series` from the attributes of one of its instances."""
    return {
        "modality": attributes.get("Modality", "")[:16],
        "body_part_examined": attributes.get("BodyPartExamined", "")[:64],
        "series_description": attributes.get("SeriesDescription", "")[:255],
        "series_number": attributes.get("SeriesNumber", "")[:16],
    }


def instance_fields(found: InspectedInstance) -> dict[str, object]:
    """The columns of an `Instance`. A document has no rows and columns."""
    return {
        "sop_class_uid": found.sop_class_uid,
        "transfer_syntax_uid": found.transfer_syntax_uid,
        "rows": found.rows if found.is_image else None,
        "columns": found.columns if found.is_image else None,
        "unreadable": found.unreadable,
        "view_position": found.attributes.get("ViewPosition", "")[:16],
        "attributes": {name: found.attributes[name] for name in KEPT_WITH_INSTANCE if found.attributes.get(name)},
        "warnings": [{"code": warning.code, "detail": warning.detail} for warning in found.warnings],
    }

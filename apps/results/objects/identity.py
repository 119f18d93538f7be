"""The attributes that all result objects share: patient, study, equipment, times."""

import datetime
import io
import re
from collections.abc import Mapping
from typing import Any, Final

from highdicom.sr import CodedConcept
from pydicom.dataset import Dataset
from pydicom.uid import UID

from apps.results.objects.codes import OWN_SCHEME, PROCESSING_EQUIPMENT
from apps.results.objects.content import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    PRODUCT,
    WRITER,
    ObjectIdentity,
    ResultContent,
)

UTF_8: Final = "ISO_IR 192"
PATIENT_STUDY: Final[Mapping[str, str]] = {
    "PatientName": "PN",
    "PatientID": "LO",
    "IssuerOfPatientID": "LO",
    "PatientBirthDate": "DA",
    "PatientSex": "CS",
    "PatientAge": "AS",
    "StudyInstanceUID": "UI",
    "StudyDate": "DA",
    "StudyTime": "TM",
    "StudyID": "SH",
    "StudyDescription": "LO",
    "AccessionNumber": "SH",
    "ReferringPhysicianName": "PN",
}
"""The attributes of patient and study, with their VR. Those of `_OPTIONAL` are left out where they are empty."""

_OPTIONAL = {"IssuerOfPatientID", "PatientAge", "StudyDescription"}
_LONGEST = {"LO": 64, "SH": 16}
_FORMS = {
    "DA": re.compile(r"\d{8}"),
    "TM": re.compile(r"\d{6}"),
    "AS": re.compile(r"\d{3}[DWMY]"),
    "CS": re.compile(r"[MFO]"),
    "UI": re.compile(r"[0-9.]{1,64}"),
}
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NAME_LENGTH = 64


def valid(text: str, vr: str) -> str:
    """The value where PS3.5 6.2 allows it for this VR, and otherwise an empty one: it is never cut or altered."""
    text = text.strip()
    if _CONTROL.search(text) or "\\" in text:
        return ""
    if vr == "PN":
        groups = text.split("=")
        return text if len(groups) <= 3 and all(len(group) <= _NAME_LENGTH for group in groups) else ""
    if vr in _FORMS:
        return text if _FORMS[vr].fullmatch(text) else ""
    return text if len(text) <= _LONGEST[vr] else ""


def add_patient_study(dataset: Dataset, values: Mapping[str, str]) -> None:
    """Set the attributes of patient and study; a value that the standard forbids is left empty."""
    dataset.SpecificCharacterSet = UTF_8
    for keyword, vr in PATIENT_STUDY.items():
        value = valid(values.get(keyword, ""), vr)
        if value or keyword not in _OPTIONAL:
            setattr(dataset, keyword, value)


def person_name(text: str) -> str:
    """A name that a person typed, as the family name of a PN value: which word is which is not known."""
    plain = re.sub(r"[\^=\\]|[\x00-\x1f\x7f]", " ", text)
    return " ".join(plain.split())[:_NAME_LENGTH]


def long_string(text: str) -> str:
    """A text as an LO value."""
    return " ".join(re.sub(r"[\\]|[\x00-\x1f\x7f]", " ", text).split())[: _LONGEST["LO"]]


def item(code: Any) -> Dataset:
    """An item of a code sequence."""
    return CodedConcept.from_code(code)


def add_common(dataset: Dataset, content: ResultContent, identity: ObjectIdentity, description: str) -> None:
    """Set what all kinds share. The times are those of the result, so that the same content gives the same bytes."""
    add_patient_study(dataset, content.patient_study)
    dataset.SOPInstanceUID = identity.sop_instance_uid
    dataset.SeriesInstanceUID = identity.series_instance_uid
    dataset.InstanceNumber = identity.number
    dataset.SeriesDescription = description
    dataset.Manufacturer = content.manufacturer
    dataset.ManufacturerModelName = PRODUCT
    dataset.DeviceSerialNumber = content.algorithm.device_uid
    dataset.SoftwareVersions = [f"results {WRITER}", long_string(content.algorithm.version)]
    for name in ("InstanceCreation", "Content"):
        set_time(dataset, name, content.changed_at)
    set_time(dataset, "Series", content.at)
    _add_equipment(dataset, content)
    _add_own_scheme(dataset)


def set_time(dataset: Dataset, name: str, at: datetime.datetime) -> None:
    """Set the attributes ``<name>Date`` and ``<name>Time`` (VR DA and TM), in the time zone of ``at``."""
    setattr(dataset, f"{name}Date", f"{at:%Y%m%d}")
    setattr(dataset, f"{name}Time", f"{at:%H%M%S}")


def _add_equipment(dataset: Dataset, content: ResultContent) -> None:
    """The model version as contributing equipment (IHE AIR 6.5.3.1)."""
    algorithm, equipment = content.algorithm, Dataset()
    equipment.PurposeOfReferenceCodeSequence = [item(PROCESSING_EQUIPMENT)]
    equipment.Manufacturer = content.manufacturer
    equipment.ManufacturerModelName = long_string(algorithm.name)
    equipment.SoftwareVersions = long_string(algorithm.version)
    equipment.DeviceUID = algorithm.device_uid
    equipment.ContributionDateTime = f"{content.at:%Y%m%d%H%M%S%z}"
    equipment.ContributionDescription = "Processing Algorithm"
    dataset.ContributingEquipmentSequence = [equipment]


def _add_own_scheme(dataset: Dataset) -> None:
    scheme = Dataset()
    scheme.CodingSchemeDesignator = OWN_SCHEME
    scheme.CodingSchemeName = "Codes of Checxray where SNOMED CT and DICOM have none"
    scheme.CodingSchemeResponsibleOrganization = PRODUCT
    dataset.CodingSchemeIdentificationSequence = [scheme]


def references(*objects: Any) -> list[Dataset]:
    """Items of Referenced SOP Sequence and the like (PS3.3 table 10-11)."""
    found = []
    for each in objects:
        reference = Dataset()
        reference.ReferencedSOPClassUID = each.sop_class_uid
        reference.ReferencedSOPInstanceUID = each.sop_instance_uid
        found.append(reference)
    return found


def hierarchical_reference(study_instance_uid: str, series_instance_uid: str, sop: Any) -> Dataset:
    """An item of a sequence with the Hierarchical SOP Instance Reference Macro (PS3.3 table C.17-3)."""
    series = Dataset()
    series.SeriesInstanceUID = series_instance_uid
    series.ReferencedSOPSequence = references(sop)
    study = Dataset()
    study.StudyInstanceUID = study_instance_uid
    study.ReferencedSeriesSequence = [series]
    return study


def encode(dataset: Dataset) -> bytes:
    """The object as a DICOM file (PS3.10)."""
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    dataset.file_meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()

"""The check of an object before it is stored: it can be read, and has what its kind requires."""

import io
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import pydicom
from pydicom import config
from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage, EncapsulatedPDFStorage, SecondaryCaptureImageStorage

# Attribute -> type (PS3.5 7.4): 1 must have a value, 2 must be there.
_COMMON: Final[Mapping[str, int]] = MappingProxyType(
    {
        "SpecificCharacterSet": 1,
        "SOPClassUID": 1,
        "SOPInstanceUID": 1,
        "PatientName": 2,
        "PatientID": 2,
        "PatientBirthDate": 2,
        "PatientSex": 2,
        "StudyInstanceUID": 1,
        "StudyDate": 2,
        "StudyTime": 2,
        "StudyID": 2,
        "AccessionNumber": 2,
        "ReferringPhysicianName": 2,
        "SeriesInstanceUID": 1,
        "SeriesNumber": 1,
        "SeriesDescription": 1,
        "Modality": 1,
        "InstanceNumber": 1,
        "ContentDate": 1,
        "ContentTime": 1,
        "Manufacturer": 1,
        "ManufacturerModelName": 1,
        "DeviceSerialNumber": 1,
        "SoftwareVersions": 1,
        "ContributingEquipmentSequence": 1,
    }
)
REQUIRED: Final[Mapping[str, tuple[str, Mapping[str, int]]]] = MappingProxyType(
    {
        "secondary-capture": (
            SecondaryCaptureImageStorage,
            {
                **_COMMON,
                "ConversionType": 1,
                "BodyPartExamined": 1,
                "BurnedInAnnotation": 1,
                "ImageType": 1,
                "PatientOrientation": 2,
                "SourceImageSequence": 1,
                "SamplesPerPixel": 1,
                "PhotometricInterpretation": 1,
                "Rows": 1,
                "Columns": 1,
                "BitsAllocated": 1,
                "PixelData": 1,
            },
        ),
        "structured-report": (
            Comprehensive3DSRStorage,
            {
                **_COMMON,
                "CompletionFlag": 1,
                "VerificationFlag": 1,
                "PreliminaryFlag": 1,
                "PerformedProcedureCodeSequence": 2,
                "ReferencedPerformedProcedureStepSequence": 2,
                "ValueType": 1,
                "ConceptNameCodeSequence": 1,
                "ContentTemplateSequence": 1,
                "ContentSequence": 1,
            },
        ),
        "encapsulated-pdf": (
            EncapsulatedPDFStorage,
            {
                **_COMMON,
                "ConversionType": 1,
                "BurnedInAnnotation": 1,
                "DocumentTitle": 2,
                "ConceptNameCodeSequence": 2,
                "VerificationFlag": 1,
                "MIMETypeOfEncapsulatedDocument": 1,
                "EncapsulatedDocument": 1,
                "EncapsulatedDocumentLength": 1,
            },
        ),
    }
)
"""By kind: the SOP class, and its required attributes with their types."""


class ObjectInvalid(Exception):
    """An object lacks something, or cannot be read. The text names attributes and never their values."""


def check_object(data: bytes, kind: str) -> None:
    """Read an object as a receiver does and check it.

    Raises:
        ObjectInvalid: it would not be accepted.
    """
    sop_class, required = REQUIRED[kind]
    try:
        dataset = pydicom.dcmread(io.BytesIO(data))
        _require_valid_values(dataset)
    except Exception as error:  # the text of the error may contain a value of the patient
        raise ObjectInvalid(f"The {kind} cannot be read back ({type(error).__name__}).") from None
    if dataset.SOPClassUID != sop_class:
        raise ObjectInvalid(f"The {kind} has another SOP class.")
    meta = dataset.file_meta
    if (meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID) != (sop_class, dataset.SOPInstanceUID):
        raise ObjectInvalid(f"The file meta information of the {kind} names another object.")
    defects = [keyword for keyword, kind_of in required.items() if not _has(dataset, keyword, kind_of)]
    if defects:
        raise ObjectInvalid(f"The {kind} lacks {', '.join(defects)}.")


def _has(dataset: Dataset, keyword: str, type_: int) -> bool:
    if keyword not in dataset:
        return False
    return type_ == 2 or not dataset[keyword].is_empty


def _require_valid_values(dataset: Dataset) -> None:
    """Convert every value but those of the content tree, and raise where one breaks a rule of its VR (PS3.5 6.2).

    Values of the content tree were checked when they were set; to convert them again takes longer than all else here.
    """

    def visit(_: Dataset, element: Any) -> None:
        if element.VR != "SQ":
            element.value  # noqa: B018 - converting it is the check

    with config.strict_reading():
        for element in dataset:
            if element.keyword != "ContentSequence":
                visit(dataset, element)
                for item in element.value if element.VR == "SQ" else ():
                    item.walk(visit)

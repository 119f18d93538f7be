"""DICOM objects of one study for tests: chest images of many kinds, and documents."""

import io
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
from pydicom import uid
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate

from ml.phantom import write_dicom
from tests.synthetic import synthetic_image

CODE_OF_REJECTION = "113001"


@cache
def _film(seed: int) -> bytes:
    target = io.BytesIO()
    write_dicom(synthetic_image(seed, 256), target)
    return target.getvalue()


def image(
    study: str, number: int = 1, *, patient_id: str = "P1", change: Callable[[FileDataset], None] | None = None,
    **attributes: Any,
) -> bytes:  # fmt: skip
    """A frontal chest image For Presentation; ``number`` makes it another instance, None removes an attribute."""
    import pydicom

    dataset = pydicom.dcmread(io.BytesIO(_film(number % 3 + 1)))
    dataset.Manufacturer, dataset.ManufacturerModelName = "Acme", "Detector"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, f"{study}.1"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"{study}.1.{number}"
    dataset.PatientID, dataset.PatientBirthDate, dataset.PatientSex = patient_id, "19600102", "F"
    for name, value in attributes.items():
        if value is None:
            del dataset[name]
        else:
            setattr(dataset, name, value)
    if change is not None:
        change(dataset)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    return _saved(dataset)


def for_processing(dataset: FileDataset) -> None:
    dataset.SOPClassUID = uid.DigitalXRayImageStorageForProcessing
    dataset.PresentationIntentType = "FOR PROCESSING"


def screen_capture(dataset: FileDataset) -> None:
    dataset.SOPClassUID = uid.SecondaryCaptureImageStorage
    dataset.ImageType, dataset.ConversionType = ["DERIVED", "SECONDARY"], "WSD"


def capture_of_a_film(dataset: FileDataset) -> None:
    """A Secondary Capture that does not say that it was derived, as scanners and converters write it."""
    dataset.SOPClassUID = uid.SecondaryCaptureImageStorage
    del dataset.ImageType


def result_of_another_product(dataset: FileDataset) -> None:
    dataset.ImageType = ["DERIVED", "PRIMARY"]
    dataset.SeriesDescription, dataset.Manufacturer = "Chest PA AI result", "Other Vendor"


def two_frames(dataset: FileDataset) -> None:
    dataset.NumberOfFrames = 2
    dataset.PixelData = dataset.PixelData * 2


def signed_codestream(dataset: FileDataset) -> None:
    """JPEG 2000 whose codestream is signed, under Pixel Representation 0."""
    import imagecodecs

    stream = imagecodecs.jpeg2k_encode(dataset.pixel_array.astype(np.int16), level=0, codecformat="j2k")
    dataset.PixelData = encapsulate([bytes(stream)])
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = uid.JPEG2000Lossless


def document(study: str, sop_class: str, number: int = 1, *, patient_id: str = "P1", **attributes: Any) -> bytes:
    """An object without pixels."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = uid.UID(sop_class)
    meta.MediaStorageSOPInstanceUID = uid.UID(f"{study}.9.{number}")
    meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, f"{study}.9"
    dataset.PatientID, dataset.PatientName = patient_id, "SYNTHETIC^Alpha"
    dataset.PatientBirthDate, dataset.PatientSex = "19600102", "F"
    dataset.Modality, dataset.SeriesDescription = "SR", "Chest PA"
    for name, value in attributes.items():
        setattr(dataset, name, value)
    return _saved(dataset)


def rejection_note(
    study: str, instances: Sequence[str], number: int = 1, *, code: str = CODE_OF_REJECTION, scheme: str = "DCM",
    evidence_study: str = "", patient_id: str = "P1",
) -> bytes:  # fmt: skip
    """A Key Object Selection document whose title is ``code``, about SOP Instance UIDs of a study."""
    title = Dataset()
    title.CodeValue, title.CodingSchemeDesignator, title.CodeMeaning = code, scheme, "Rejected"
    series, evidence = Dataset(), Dataset()
    series.ReferencedSOPSequence = [_reference(each) for each in instances]
    series.SeriesInstanceUID = f"{study}.1"
    evidence.ReferencedSeriesSequence, evidence.StudyInstanceUID = [series], evidence_study or study
    return document(
        study, uid.KeyObjectSelectionDocumentStorage, number, patient_id=patient_id, Modality="KO",
        ConceptNameCodeSequence=[title], CurrentRequestedProcedureEvidenceSequence=[evidence],
        ContentSequence=[_selected(each) for each in instances],
    )  # fmt: skip


def _reference(sop_instance_uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = uid.DigitalXRayImageStorageForPresentation
    item.ReferencedSOPInstanceUID = sop_instance_uid
    return item


def _selected(sop_instance_uid: str) -> Dataset:
    item = Dataset()
    item.RelationshipType, item.ValueType = "CONTAINS", "IMAGE"
    item.ReferencedSOPSequence = [_reference(sop_instance_uid)]
    return item


def _saved(dataset: FileDataset) -> bytes:
    target = io.BytesIO()
    dataset.save_as(target, enforce_file_format=True)
    return target.getvalue()

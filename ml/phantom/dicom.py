"""Write synthetic images as valid DICOM: Digital X-Ray Image Storage - For Presentation (PS3.3 A.26).

Names are visibly synthetic. UIDs are derived from the arguments (UUID version 5 under 2.25, PS3.5 B.2), so the same
image written again is the same instance.
"""

import uuid
from io import BytesIO
from pathlib import Path

import numpy as np
from pydicom import uid
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate

from ml.phantom.encode import CODECS, Frame, depth_for
from ml.phantom.image import SyntheticImage

UID_ROOT = uuid.UUID("5b1a3a5e-7a83-5d0c-9a55-0d6f2f6c9b11")
FILM_BITS = 12
# SNOMED CT codes of CID 4010 (DX View) with the patient's direction along the rows and down the columns.
VIEWS = {
    "PA": ("272479007", "postero-anterior", ["L", "F"]),
    "AP": ("399348003", "antero-posterior", ["L", "F"]),
    "LL": ("399198007", "left lateral", ["A", "F"]),
}


def synthetic_uid(*parts: object) -> str:
    """A UID that depends only on `parts`."""
    return f"2.25.{uuid.uuid5(UID_ROOT, '/'.join(str(p) for p in parts)).int}"


def write_dicom(
    picture: SyntheticImage,
    target: str | Path | BytesIO,
    *,
    patient_name: str = "SYNTHETIC^Alpha",
    patient_id: str | None = None,
    birth_date: str | None = None,
    study_date: str = "20240115",
    study_time: str = "093000",
    accession_number: str = "",
    study_description: str = "Chest frontal (synthetic)",
    institution: str = "Synthetic Hospital",
    study_uid: str | None = None,
    series_uid: str | None = None,
    sop_uid: str | None = None,
    photometric: str = "MONOCHROME2",
    transfer_syntax: str = uid.ExplicitVRLittleEndian,
    bits: int | None = None,
    view_position: str = "PA",
) -> FileDataset:
    """Write a synthetic picture as DICOM and return the dataset.

    UIDs that are not given follow from patient, date and picture. A birth date that is not given fits the age of the
    picture's patient.

    Args:
        picture: what to write.
        target: path or buffer.
        photometric: MONOCHROME1 or MONOCHROME2.
        transfer_syntax: one of TRANSFER_SYNTAXES.
        bits: Bits Stored, 8..16; by default 12, or what the codec can store.
        view_position: PA, AP or LL; changes only attributes.

    Raises:
        ValueError: the combination cannot be written.
    """
    if photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise ValueError(f"photometric must be MONOCHROME1 or MONOCHROME2, not {photometric}")
    if view_position not in VIEWS:
        raise ValueError(f"view_position must be one of {', '.join(VIEWS)}, not {view_position}")
    depth = depth_for(transfer_syntax, bits)
    patient_id = patient_id or f"SYN-{picture.seed:06d}"
    study = study_uid or synthetic_uid("study", institution, patient_id, study_date, study_time)
    series = series_uid or synthetic_uid("series", study)
    image = sop_uid or synthetic_uid(
        "image",
        series,
        picture.seed,
        picture.pixels.shape,
        picture.findings,
        photometric,
        transfer_syntax,
        depth,
        view_position,
    )
    dataset = _empty(image, transfer_syntax)
    _patient(dataset, picture, patient_name, patient_id, birth_date or birth_date_of(picture, study_date), study_date)
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = study_date
    dataset.StudyTime = dataset.SeriesTime = dataset.AcquisitionTime = dataset.ContentTime = study_time
    dataset.AccessionNumber, dataset.StudyDescription = accession_number, study_description
    dataset.InstitutionName = institution
    _acquisition(dataset, picture, view_position)
    _pixels(dataset, picture, photometric, transfer_syntax, depth)
    dataset.save_as(target, enforce_file_format=True)
    return dataset


def _empty(sop_uid: str, transfer_syntax: str) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = uid.DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = uid.UID(sop_uid)
    meta.TransferSyntaxUID = uid.UID(transfer_syntax)
    meta.ImplementationClassUID = uid.UID(synthetic_uid("implementation"))
    meta.ImplementationVersionName = "CHECXRAY_SYNTH"
    syntax = meta.TransferSyntaxUID
    dataset = FileDataset(
        "",
        {},
        file_meta=meta,
        preamble=b"\0" * 128,
        is_implicit_VR=syntax.is_implicit_VR,
        is_little_endian=syntax.is_little_endian,
    )
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    return dataset


def birth_date_of(picture: SyntheticImage, day: str) -> str:
    """A birth date (YYYYMMDD) that gives the picture's patient the right age on `day`."""
    month, date = 1 + picture.seed % 12, 1 + picture.seed % 28
    ahead = f"{month:02d}{date:02d}" > day[4:]
    return f"{int(day[:4]) - picture.age - ahead:04d}{month:02d}{date:02d}"


def _patient(
    dataset: Dataset, picture: SyntheticImage, name: str, patient_id: str, birth: str, study_date: str
) -> None:
    dataset.PatientName, dataset.PatientID = name, patient_id
    dataset.PatientBirthDate = birth
    age = (int(study_date) - int(birth)) // 10000
    dataset.PatientSex, dataset.PatientAge = picture.sex, f"{age:03d}Y"
    dataset.PatientComments = "Synthetic film: no real person"


def _acquisition(dataset: Dataset, picture: SyntheticImage, view: str) -> None:
    """Add every type 1 and type 2 attribute of the DX modules, from study to detector."""
    dataset.StudyID, dataset.ReferringPhysicianName = "1", ""
    dataset.Modality, dataset.PresentationIntentType = "DX", "FOR PRESENTATION"
    dataset.SeriesNumber, dataset.InstanceNumber, dataset.AcquisitionNumber = 1, 1, 1
    dataset.SeriesDescription = f"Chest {view}"
    dataset.Manufacturer, dataset.ManufacturerModelName = "Checxray", "Synthetic film generator"
    dataset.DeviceSerialNumber, dataset.SoftwareVersions = "0", "1"
    dataset.BodyPartExamined, dataset.ViewPosition, dataset.ImageLaterality = "CHEST", view, "U"
    dataset.AnatomicRegionSequence = [_code("51185008", "Chest")]
    code, meaning, orientation = VIEWS[view]
    dataset.ViewCodeSequence = [_code(code, meaning)]
    dataset.ViewCodeSequence[0].ViewModifierCodeSequence = []
    dataset.PatientOrientation = orientation
    dataset.PatientOrientationCodeSequence = [_code("10904000", "erect")]
    dataset.AcquisitionContextSequence = []
    dataset.ImageType = ["ORIGINAL", "PRIMARY", ""]
    dataset.KVP, dataset.DistanceSourceToDetector, dataset.DistanceSourceToPatient = "120", "1800", "1600"
    dataset.PositionerType, dataset.DetectorType = "NONE", "DIRECT"
    spacing = f"{picture.spacing_mm:.6f}"
    dataset.ImagerPixelSpacing = [spacing, spacing]
    dataset.BurnedInAnnotation = "NO"


def _code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SCT", meaning
    return item


def _pixels(dataset: Dataset, picture: SyntheticImage, photometric: str, transfer_syntax: str, bits: int) -> None:
    shift = bits - FILM_BITS
    stored = np.left_shift(picture.pixels, shift) if shift > 0 else np.right_shift(picture.pixels, -shift)
    inverse = photometric == "MONOCHROME1"
    if inverse:
        stored = np.uint16((1 << bits) - 1) - stored
    frame: Frame = stored.astype(np.uint8) if bits <= 8 else stored
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, photometric
    dataset.Rows, dataset.Columns = frame.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = frame.itemsize * 8, bits, bits - 1
    dataset.PixelRepresentation = 0
    # White means strong attenuation, so grey values fall with intensity unless they are stored inverted.
    dataset.PixelIntensityRelationship, dataset.PixelIntensityRelationshipSign = "LOG", 1 if inverse else -1
    dataset.PresentationLUTShape = "INVERSE" if inverse else "IDENTITY"
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = "0", "1", "US"
    dataset.WindowCenter, dataset.WindowWidth = str(1 << (bits - 1)), str(1 << bits)
    dataset.WindowCenterWidthExplanation = "FULL"
    _frame(dataset, frame, transfer_syntax, bits)


def _frame(dataset: Dataset, frame: Frame, transfer_syntax: str, bits: int) -> None:
    dataset.LossyImageCompression = "00"
    codec = CODECS.get(transfer_syntax)
    if codec is None:
        big = transfer_syntax == uid.ExplicitVRBigEndian and frame.itemsize > 1
        dataset.PixelData = (frame.astype(">u2") if big else frame).tobytes()
        dataset["PixelData"].VR = "OW" if frame.itemsize > 1 or transfer_syntax == uid.ImplicitVRLittleEndian else "OB"
        return
    stream = codec.encode(np.ascontiguousarray(frame), bits)
    if codec.lossy_method:
        dataset.LossyImageCompression = "01"
        dataset.LossyImageCompressionRatio = f"{frame.nbytes / len(stream):.2f}"
        dataset.LossyImageCompressionMethod = codec.lossy_method
    dataset.PixelData = encapsulate([stream])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True

"""A picture (PNG or JPEG) as a Secondary Capture instance (PS3.3 A.8.1), so that it lives like any other film."""

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO

from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from ml.dicom.radiograph import Radiograph, read_radiograph
from ml.dicom.source import Source
from ml.dicom.storage_classes import PICTURE_IMPLEMENTATION_CLASS

_UID_ROOT = uuid.UUID("a3c7c8c4-5f0e-4b6e-9f3c-6d1b6f3f2a10")
IMPLEMENTATION_CLASS_UID = UID(PICTURE_IMPLEMENTATION_CLASS)
# The version of this writer, not of the product: the same picture must give the same bytes in every release.
IMPLEMENTATION_VERSION_NAME = "CHECXRAY_1"


@dataclass(frozen=True)
class PictureIdentity:
    """What the uploader says of a picture; ``owner`` keeps two hospitals' UIDs apart."""

    owner: str
    patient_id: str = ""
    patient_name: str = ""
    study_date: str = ""


def write_secondary_capture(picture: Source, target: BinaryIO, identity: PictureIdentity | Mapping[str, str]) -> None:
    """Write the picture as 8-bit MONOCHROME2, explicit little endian; the same picture and identity, the same bytes.

    Modality is DX, since the uploader declares a chest radiograph (PS3.3 C.7.3.1.1.1 lets a capture keep the modality
    of the original); ConversionType WSD says that a workstation made the object.

    Raises:
        InputRejected: the picture cannot be read.
    """
    if not isinstance(identity, PictureIdentity):
        identity = PictureIdentity(**identity)
    film = read_radiograph(picture)
    digest = hashlib.sha256(film.pixels.tobytes()).hexdigest()
    dataset = _file(_uid("image", identity, digest))
    dataset.StudyInstanceUID = _uid("study", identity, digest)
    dataset.SeriesInstanceUID = _uid("series", identity, digest)
    _describe(dataset, identity)
    _add_pixels(dataset, film)
    dataset.save_as(target, enforce_file_format=True)


def _uid(kind: str, identity: PictureIdentity, digest: str) -> UID:
    # The patient takes part: the same picture under a corrected name is another study, not a conflict.
    parts = (kind, identity.owner, identity.patient_id, identity.patient_name, identity.study_date, digest)
    return UID(f"2.25.{uuid.uuid5(_UID_ROOT, chr(31).join(parts)).int}")


def _file(sop_instance_uid: UID) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = sop_instance_uid
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    dataset = FileDataset("", Dataset(), file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.SOPInstanceUID = sop_instance_uid
    return dataset


def _describe(dataset: Dataset, identity: PictureIdentity) -> None:
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientName = identity.patient_name
    dataset.PatientID = identity.patient_id
    dataset.PatientBirthDate = ""
    dataset.PatientSex = ""
    dataset.PatientOrientation = ""
    dataset.StudyDate = identity.study_date
    dataset.StudyTime = ""
    dataset.StudyID = ""
    dataset.AccessionNumber = ""
    dataset.ReferringPhysicianName = ""
    dataset.SeriesNumber = 1
    dataset.InstanceNumber = 1
    dataset.Modality = "DX"
    dataset.BodyPartExamined = "CHEST"
    dataset.Laterality = ""
    dataset.ConversionType = "WSD"
    dataset.ImageType = ["DERIVED", "SECONDARY"]


def _add_pixels(dataset: Dataset, film: Radiograph) -> None:
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = film.rows, film.columns
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    dataset.PixelRepresentation = 0
    # The full range: the picture's grey levels are shown as they came.
    dataset.WindowCenter, dataset.WindowWidth = 128, 256
    if film.kind == "jpeg":
        dataset.LossyImageCompression = "01"
        dataset.LossyImageCompressionMethod = "ISO_10918_1"
    data = film.pixels.tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)

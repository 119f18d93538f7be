"""Convert an uploaded picture (PNG or JPEG) to a Secondary Capture instance (PS3.3 A.8.1)."""

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
# The version of this writer and not of the product: the same picture must give the same bytes in every release.
IMPLEMENTATION_VERSION_NAME = "CHECXRAY_1"


@dataclass(frozen=True)
class PictureIdentity:
    """What the uploading user states about a picture. ``owner`` makes the UIDs of two tenants different."""

    owner: str
    patient_id: str = ""
    patient_name: str = ""
    study_date: str = ""


def write_secondary_capture(picture: Source, target: BinaryIO, identity: PictureIdentity | Mapping[str, str]) -> None:
    """Write the picture as 8-bit MONOCHROME2, explicit little endian.

    The same picture and identity always give the same bytes. Modality is DX, because the user uploads a chest
    radiograph and PS3.3 C.7.3.1.1.1 lets a capture keep the modality of the original. ConversionType WSD means that a
    workstation made the object.

    Raises:
        InputRejected: the picture cannot be read.
    """
    if not isinstance(identity, PictureIdentity):
        identity = PictureIdentity(**identity)
    radiograph = read_radiograph(picture)
    digest = hashlib.sha256(radiograph.pixels.tobytes()).hexdigest()
    dataset = _file(_uid("image", identity, digest))
    dataset.StudyInstanceUID = _uid("study", identity, digest)
    dataset.SeriesInstanceUID = _uid("series", identity, digest)
    _describe(dataset, identity)
    _add_pixels(dataset, radiograph)
    dataset.save_as(target, enforce_file_format=True)


def _uid(kind: str, identity: PictureIdentity, digest: str) -> UID:
    # The patient is included, so that the same picture under a corrected name is another study and not a conflict.
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


def _add_pixels(dataset: Dataset, radiograph: Radiograph) -> None:
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = radiograph.rows, radiograph.columns
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    dataset.PixelRepresentation = 0
    # A window over the full range shows the grey levels of the picture unchanged.
    dataset.WindowCenter, dataset.WindowWidth = 128, 256
    if radiograph.kind == "jpeg":
        dataset.LossyImageCompression = "01"
        dataset.LossyImageCompressionMethod = "ISO_10918_1"
    data = radiograph.pixels.tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)

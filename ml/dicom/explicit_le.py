"""Convert a DICOM object to the transfer syntaxes that every receiver knows.

Explicit VR Little Endian is the default of DICOMweb (PS3.18 8.7.3.5.2), Implicit VR Little Endian that of DIMSE
(PS3.5 10.1).
"""

import io
import struct
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from pydicom import dcmread, dcmwrite
from pydicom.dataset import FileDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from ml.dicom.codecs import stored_frames
from ml.dicom.image_layout import ImageLayout, read_layout
from ml.dicom.parser import PIXEL_DATA, DicomIndex, parse
from ml.dicom.source import Source, open_source
from ml.dicom.transfer_syntaxes import JPEG, JPEG_2000, RLE
from ml.errors import InputRejected

_STEP: Final = 1 << 20
# Extended offset tables describe fragments, and signatures and padding after the pixel data the former encoding.
_OF_THE_ENCODING: Final = (0x7FE00001, 0x7FE00002, 0x7FE00003)
_LOSSY: Final = frozenset(f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 81, 91, 203))


def write_explicit_le(source: Source, target: BinaryIO) -> None:
    """Write a DICOM object that the preflight accepted with the same values in Explicit VR Little Endian.

    Compressed pixels are decoded, so run it in a sandbox. Uncompressed ones are copied in pieces: memory does not grow
    with them.

    Raises:
        InputRejected: the object is Big Endian (retired), or its pixels can't be decoded.
    """
    _write(source, target, ExplicitVRLittleEndian)


def write_implicit_le(source: Source, target: BinaryIO) -> None:
    """As `write_explicit_le`, in Implicit VR Little Endian."""
    _write(source, target, ImplicitVRLittleEndian)


def _write(source: Source, target: BinaryIO, syntax: UID) -> None:
    buffer, kind = open_source(source)
    if kind != "dicom":
        raise InputRejected("format-not-recognised", "Only a DICOM object has a transfer syntax.")
    index = parse(buffer)
    if index.big_endian:
        raise InputRejected("transfer-syntax-not-supported", "Big Endian objects are not converted.")
    dataset = dcmread(_file(source), stop_before_pixels=True)
    has_pixels = PIXEL_DATA in index.elements
    layout = read_layout(index) if has_pixels and index.encapsulated else None
    for tag in [tag for tag in dataset.keys() if tag in _OF_THE_ENCODING or tag > PIXEL_DATA]:  # noqa: SIM118
        del dataset[tag]
    if layout is not None:
        _describe_decoded(dataset, layout, index.transfer_syntax_uid)
    dataset.file_meta.TransferSyntaxUID = syntax
    dcmwrite(target, dataset, enforce_file_format=True)
    if layout is not None:
        _write_decoded(target, index, layout, syntax)
    elif has_pixels:
        _copy_native(target, index, syntax)


def _file(source: Source) -> Any:
    if isinstance(source, bytes):
        return io.BytesIO(source)
    if isinstance(source, Path):
        return source
    source.seek(0)
    return source


def _describe_decoded(dataset: FileDataset, layout: ImageLayout, transfer_syntax_uid: str) -> None:
    """Change the attributes that describe the encoding of the pixels (PS3.5 section 8.2)."""
    if layout.samples == 3:
        dataset.PlanarConfiguration = 0
        is_transformed = transfer_syntax_uid in JPEG_2000 and layout.photometric in ("YBR_RCT", "YBR_ICT")
        if is_transformed or transfer_syntax_uid in JPEG:
            dataset.PhotometricInterpretation = "RGB"
    if transfer_syntax_uid != RLE:
        # A codec returns the value in the lowest bits.
        dataset.HighBit = layout.bits_stored - 1
    if transfer_syntax_uid in _LOSSY:
        dataset.LossyImageCompression = "01"


def _write_decoded(target: BinaryIO, index: DicomIndex, layout: ImageLayout, syntax: UID) -> None:
    is_wide = layout.bits_allocated == 16
    frame_bytes = layout.rows * layout.columns * layout.samples * layout.bits_allocated // 8
    _write_header(target, syntax, b"OW" if is_wide else b"OB", frame_bytes * layout.frames)
    for frame in stored_frames(index, layout):
        data = np.ascontiguousarray(frame, "<u2" if is_wide else "u1")
        if data.nbytes != frame_bytes:
            raise InputRejected("decode-failed", "A frame has another size than the image. Export the image again.")
        target.write(data.tobytes())
    target.write(b"\0" * (frame_bytes * layout.frames % 2))


def _copy_native(target: BinaryIO, index: DicomIndex, syntax: UID) -> None:
    element = index.elements[PIXEL_DATA]
    _write_header(target, syntax, b"OB" if element.vr == "OB" else b"OW", element.length)
    end = element.start + element.length
    for start in range(element.start, end, _STEP):
        target.write(index.buffer[start : min(start + _STEP, end)])
    target.write(b"\0" * (element.length % 2))


def _write_header(target: BinaryIO, syntax: UID, vr: bytes, length: int) -> None:
    if syntax.is_implicit_VR:
        target.write(struct.pack("<HHI", PIXEL_DATA >> 16, PIXEL_DATA & 0xFFFF, length + length % 2))
        return
    target.write(struct.pack("<HH2sHI", PIXEL_DATA >> 16, PIXEL_DATA & 0xFFFF, vr, 0, length + length % 2))

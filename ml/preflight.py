"""Ring 2 of the defence: what a file is and whether it may go near a decoder, in bounded time and memory."""

import mmap
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

from ml.codestream import HEAD_BYTES, read_jpeg_file
from ml.errors import InputRejected
from ml.image_warnings import ImageWarning
from ml.preflight_image import check_size, read_layout
from ml.preflight_source import Kind, open_source
from ml.preflight_text import read_attributes
from ml.preflight_walk import DicomIndex, walk

SOP_CLASSES: Final = MappingProxyType(
    {
        "1.2.840.10008.5.1.4.1.1.1": "Computed Radiography Image Storage",
        "1.2.840.10008.5.1.4.1.1.1.1": "Digital X-Ray Image Storage - For Presentation",
        "1.2.840.10008.5.1.4.1.1.1.1.1": "Digital X-Ray Image Storage - For Processing",
        "1.2.840.10008.5.1.4.1.1.7": "Secondary Capture Image Storage",
        "1.2.840.10008.5.1.4.1.1.7.1": "Multi-frame Single Bit Secondary Capture Image Storage",
        "1.2.840.10008.5.1.4.1.1.7.2": "Multi-frame Grayscale Byte Secondary Capture Image Storage",
        "1.2.840.10008.5.1.4.1.1.7.3": "Multi-frame Grayscale Word Secondary Capture Image Storage",
        "1.2.840.10008.5.1.4.1.1.7.4": "Multi-frame True Color Secondary Capture Image Storage",
    }
)
"""Accepted SOP classes. The single-bit one is accepted by name and then refused for its bits, with that reason."""

_UID = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))*")
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


@dataclass(frozen=True)
class Preflight:
    """What is known of a file without decoding it.

    For PNG and JPEG the UIDs are empty and `attributes` has nothing. `rows` and `columns` are pixels as stored (an EXIF
    rotation of a JPEG is applied later, by `ml.radiograph`). `attributes` maps DICOM keywords of
    `ml.preflight_text.TAGS` to cleaned text. `warnings` quote no value of the file.
    """

    kind: Kind
    size: int
    rows: int
    columns: int
    bits_allocated: int
    bits_stored: int
    photometric_interpretation: str
    number_of_frames: int = 1
    transfer_syntax_uid: str = ""
    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    study_instance_uid: str = ""
    series_instance_uid: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[ImageWarning, ...] = ()


def inspect(path: Path) -> Preflight:
    """Look at one file of at most `ml.preflight_source.MAX_FILE_BYTES`. Raises InputRejected (codes in
    `ml.errors.CODES`)."""
    buffer, kind = open_source(path)
    if kind == "png":
        return _inspect_png(buffer)
    if kind == "jpeg":
        stream = read_jpeg_file(buffer[:HEAD_BYTES])
        rows, columns = check_size(stream.rows, stream.columns)
        photometric = "MONOCHROME2" if stream.components == 1 else "YBR_FULL" if stream.components == 3 else "CMYK"
        return Preflight("jpeg", len(buffer), rows, columns, 8 if stream.bits <= 8 else 16, stream.bits, photometric)
    return _inspect_dicom(buffer)


def valid_uid(uid: str) -> bool:
    """PS3.5 section 9.1: at most 64 characters, components of digits without leading zeros, none empty."""
    return len(uid) <= 64 and _UID.fullmatch(uid) is not None


def _inspect_png(buffer: bytes | mmap.mmap) -> Preflight:
    """IHDR must be the first chunk (W3C PNG section 11.2.2)."""
    if len(buffer) < 33 or buffer[8:16] != b"\x00\x00\x00\rIHDR":
        raise InputRejected("codestream-invalid", "The PNG has no header. Save the image anew.")
    columns, rows, bits, colour, _, _, interlace = struct.unpack_from(">IIBBBBB", buffer, 16)
    if colour not in _PNG_CHANNELS or bits not in (1, 2, 4, 8, 16) or interlace > 1:
        raise InputRejected("codestream-invalid", "The PNG has an impossible header. Save the image anew.")
    rows, columns = check_size(rows, columns)
    photometric = {0: "MONOCHROME2", 3: "PALETTE COLOR", 4: "MONOCHROME2"}.get(colour, "RGB")
    return Preflight("png", len(buffer), rows, columns, 16 if bits == 16 else 8, bits, photometric)


def _inspect_dicom(buffer: bytes | mmap.mmap) -> Preflight:
    index = walk(buffer)
    sop_class = _uid(index, 0x00080016, "SOP Class UID")
    if sop_class not in SOP_CLASSES:
        raise InputRejected("sop-class-not-supported", "Send a CR, DX or Secondary Capture image of a chest.")
    sop_instance = _uid(index, 0x00080018, "SOP Instance UID")
    study = _uid(index, 0x0020000D, "Study Instance UID")
    series = _uid(index, 0x0020000E, "Series Instance UID")
    _check_file_meta(index, sop_class, sop_instance)
    layout = read_layout(index)
    attributes, notes = read_attributes(index)
    return Preflight(
        "dicom",
        len(buffer),
        layout.rows,
        layout.columns,
        layout.bits_allocated,
        layout.bits_stored,
        layout.photometric,
        layout.frames,
        index.transfer_syntax_uid,
        sop_class,
        sop_instance,
        study,
        series,
        attributes,
        tuple(dict.fromkeys([*index.warnings, *notes])),
    )


def _uid(index: DicomIndex, tag: int, name: str) -> str:
    element = index.elements.get(tag)
    if element is None or not element.length:
        raise InputRejected("uid-missing", f"The {name} is absent. Export the image anew from its archive.")
    if element.vr not in ("UI", ""):
        raise InputRejected(
            "uid-invalid", f"The {name} is not encoded as a UID. Export the image anew from its archive."
        )
    raw = index.value(tag) if element.length <= 66 else b"-"
    uid = raw.removesuffix(b"\0").rstrip(b" ").decode("latin-1")
    if not uid:
        raise InputRejected("uid-missing", f"The {name} is empty. Export the image anew from its archive.")
    if not valid_uid(uid):
        raise InputRejected(
            "uid-invalid", f"The {name} breaks PS3.5 section 9.1. Export the image anew from its archive."
        )
    return uid


def _check_file_meta(index: DicomIndex, sop_class: str, sop_instance: str) -> None:
    """A class that differs is another kind of object; an instance that differs is what careless de-identifiers
    leave."""
    for tag, expected in ((0x00020002, sop_class), (0x00020003, sop_instance)):
        stored = index.meta.get(tag, b"").decode("latin-1").strip(" \0")
        if stored == expected:
            continue
        if stored and tag == 0x00020002:
            raise InputRejected(
                "file-meta-invalid",
                "The File Meta Information names another SOP Class. Export the file anew as DICOM Part 10.",
            )
        index.warn("file-meta-differs")

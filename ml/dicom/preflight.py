"""The preflight: identify and check a received file without decoding it, in bounded time and memory."""

import mmap
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ml.dicom.acquisition import not_an_acquisition
from ml.dicom.attributes import MAX_TEXT, read_attributes
from ml.dicom.codec_headers import HEAD_BYTES, read_jpeg_file
from ml.dicom.image_layout import check_size, read_layout
from ml.dicom.image_warnings import ImageWarning
from ml.dicom.key_objects import RejectionNote, read_rejection
from ml.dicom.parser import DicomIndex, parse
from ml.dicom.source import Kind, open_source
from ml.dicom.storage_classes import IMAGE_CLASSES, KEY_OBJECT_SELECTION, SOP_CLASSES
from ml.errors import InputRejected

_UID = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))*")
# Source Image Sequence, Purpose of Reference Code Sequence, Code Value (PS3.3 C.7.6.1.1.4).
_PURPOSE_OF_SOURCE = (0x00082112, 0x0040A170, 0x00080100)
_MOST_PURPOSES = 8
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


@dataclass(frozen=True)
class Preflight:
    """What the preflight found out about a file.

    For PNG and JPEG the UIDs and `attributes` are empty. For an object of `ml.dicom.storage_classes.OTHER_CLASSES`,
    which is not an image, the sizes are 0 and the pixels, if any, are not examined.

    Attributes:
        rows, columns: as stored. The EXIF rotation of a JPEG is applied later, by `ml.dicom.radiograph`.
        attributes: DICOM keyword of `ml.dicom.attributes.TAGS` -> cleaned text; BitsAllocated of an image as well.
        warnings: contain no values of the file.
        unreadable: why an image is stored but never scored (a key of `ml.model.input_check.CODES`), or empty.
        rejection: what a Key Object Selection document rejects.
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
    is_image: bool = True
    unreadable: str = ""
    rejection: RejectionNote | None = None


def inspect(path: Path) -> Preflight:
    """Examine one file of at most `ml.dicom.source.MAX_FILE_BYTES`.

    Raises:
        InputRejected: with a code of `ml.errors.CODES`.
    """
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
        raise InputRejected("codestream-invalid", "The PNG has no header. Save the image again.")
    columns, rows, bits, colour, _, _, interlace = struct.unpack_from(">IIBBBBB", buffer, 16)
    if colour not in _PNG_CHANNELS or bits not in (1, 2, 4, 8, 16) or interlace > 1:
        raise InputRejected("codestream-invalid", "The PNG has an impossible header. Save the image again.")
    rows, columns = check_size(rows, columns)
    photometric = {0: "MONOCHROME2", 3: "PALETTE COLOR", 4: "MONOCHROME2"}.get(colour, "RGB")
    return Preflight("png", len(buffer), rows, columns, 16 if bits == 16 else 8, bits, photometric)


def _inspect_dicom(buffer: bytes | mmap.mmap) -> Preflight:
    index = parse(buffer)
    sop_class = _uid(index, 0x00080016, "SOP Class UID")
    if sop_class not in SOP_CLASSES:
        raise InputRejected(
            "sop-class-not-supported",
            "Send CR, DX or Secondary Capture images of a chest, and the documents of their study.",
        )
    sop_instance = _uid(index, 0x00080018, "SOP Instance UID")
    study = _uid(index, 0x0020000D, "Study Instance UID")
    series = _uid(index, 0x0020000E, "Series Instance UID")
    _check_file_meta(index, sop_class, sop_instance)
    described = _describe_image(index) if sop_class in IMAGE_CLASSES else _describe_other(index, sop_class, study)
    attributes, notes = read_attributes(index)
    attributes |= _provenance(index)
    if described.is_image:
        attributes["BitsAllocated"] = str(described.bits_allocated)
    return replace(
        described,
        size=len(buffer),
        transfer_syntax_uid=index.transfer_syntax_uid,
        sop_class_uid=sop_class,
        sop_instance_uid=sop_instance,
        study_instance_uid=study,
        series_instance_uid=series,
        attributes=attributes,
        unreadable=(described.unreadable or not_an_acquisition(attributes, sop_class)) if described.is_image else "",
        warnings=tuple(dict.fromkeys([*index.warnings, *notes])),
    )


def _describe_image(index: DicomIndex) -> Preflight:
    layout = read_layout(index)
    return Preflight(
        "dicom",
        0,
        layout.rows,
        layout.columns,
        layout.bits_allocated,
        layout.bits_stored,
        layout.photometric,
        layout.frames,
        unreadable=layout.unreadable,
    )


def _describe_other(index: DicomIndex, sop_class: str, study: str) -> Preflight:
    rejection = read_rejection(index, study) if sop_class == KEY_OBJECT_SELECTION else None
    return Preflight("dicom", 0, 0, 0, 0, 0, "", 0, is_image=False, rejection=rejection)


def _provenance(index: DicomIndex) -> dict[str, str]:
    """Attributes that show that a user uploaded the picture, or that the image was made from another."""
    found = {"ImplementationClassUID": index.meta.get(0x00020012, b"").decode("latin-1").strip(" \0")}
    purposes = [
        index.buffer[element.start : element.start + min(element.length, 16)].decode("latin-1").strip(" \0")
        for _, path, element in index.nested
        if path == _PURPOSE_OF_SOURCE
    ]
    found["PurposeOfReferenceCodeSequence"] = "\\".join(dict.fromkeys(purposes[:_MOST_PURPOSES]))
    return {keyword: text for keyword, text in found.items() if text and len(text) <= MAX_TEXT}


def _uid(index: DicomIndex, tag: int, name: str) -> str:
    element = index.elements.get(tag)
    if element is None or not element.length:
        raise InputRejected("uid-missing", f"The {name} is absent. Export the image again from its archive.")
    if element.vr not in ("UI", ""):
        raise InputRejected(
            "uid-invalid", f"The {name} is not encoded as a UID. Export the image again from its archive."
        )
    raw = index.value(tag) if element.length <= 66 else b"-"
    uid = raw.removesuffix(b"\0").rstrip(b" ").decode("latin-1")
    if not uid:
        raise InputRejected("uid-missing", f"The {name} is empty. Export the image again from its archive.")
    if not valid_uid(uid):
        raise InputRejected(
            "uid-invalid", f"The {name} breaks PS3.5 section 9.1. Export the image again from its archive."
        )
    return uid


def _check_file_meta(index: DicomIndex, sop_class: str, sop_instance: str) -> None:
    """Compare the File Meta Information with the data set.

    Another SOP Class is refused. Another SOP Instance gives a warning, because some de-identifiers leave the old one.
    """
    for tag, expected in ((0x00020002, sop_class), (0x00020003, sop_instance)):
        stored = index.meta.get(tag, b"").decode("latin-1").strip(" \0")
        if stored == expected:
            continue
        if stored and tag == 0x00020002:
            raise InputRejected(
                "file-meta-invalid",
                "The File Meta Information names another SOP Class. Export the file again as DICOM Part 10.",
            )
        index.warn("file-meta-differs")

"""Read the text attributes for the worklist and the input check: decode, clean and shorten them."""

import re
import unicodedata
import warnings
from types import MappingProxyType
from typing import Final

from pydicom import charset

from ml.dicom.image_warnings import CODES, ImageWarning, image_warning
from ml.dicom.parser import DicomIndex

MAX_TEXT: Final = 1024

TAGS: Final = MappingProxyType(
    {
        "PatientID": 0x00100020,
        "PatientName": 0x00100010,
        "PatientBirthDate": 0x00100030,
        "PatientSex": 0x00100040,
        "PatientAge": 0x00101010,
        "IssuerOfPatientID": 0x00100021,
        "AccessionNumber": 0x00080050,
        "StudyDate": 0x00080020,
        "StudyTime": 0x00080030,
        "StudyDescription": 0x00081030,
        "StudyID": 0x00200010,
        "RequestedProcedurePriority": 0x00401003,
        "StudyPriorityID": 0x0032000C,
        "ReferringPhysicianName": 0x00080090,
        "Modality": 0x00080060,
        "BodyPartExamined": 0x00180015,
        "ViewPosition": 0x00185101,
        "PatientOrientation": 0x00200020,
        "SeriesDescription": 0x0008103E,
        "SeriesNumber": 0x00200011,
        "InstanceNumber": 0x00200013,
        "ImageLaterality": 0x00200062,
        "Manufacturer": 0x00080070,
        "ManufacturerModelName": 0x00081090,
        "InstitutionName": 0x00080080,
        "StationName": 0x00081010,
        "ImageType": 0x00080008,
        "PresentationIntentType": 0x00080068,
        "NumberOfFrames": 0x00280008,
        "BurnedInAnnotation": 0x00280301,
        "PixelAspectRatio": 0x00280034,
        "PixelSpacing": 0x00280030,
        "ImagerPixelSpacing": 0x00181164,
        "NominalScannedPixelSpacing": 0x00182010,
        "ContentQualification": 0x00189004,
        "ConversionType": 0x00080064,
        "DerivationDescription": 0x00082111,
        "ImageComments": 0x00204000,
    }
)

# What is kept of a text that identifies; two that are equal up to there are one patient, or one request.
_LONGEST: Final = MappingProxyType(
    {
        "PatientID": 64,
        "IssuerOfPatientID": 64,
        "AccessionNumber": 64,
        "StudyID": 64,
        "PatientName": 324,
        "ReferringPhysicianName": 324,
    }
)
_SPECIFIC_CHARACTER_SET = 0x00080005
_DELIMITERS = {ord("\\"), ord("^"), ord("="), ord("\r"), ord("\n"), ord("\t"), ord("\f")}
# Control characters, and marks that change the displayed order of characters (Unicode TR 36, section 2.5).
_UNWANTED = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ufffe\uffff]")


def read_attributes(index: DicomIndex) -> tuple[dict[str, str], list[ImageWarning]]:
    """Read the attributes of `TAGS`.

    Text is decoded by Specific Character Set (PS3.3 C.12.1.1.2). Bytes that do not fit it are read as UTF-8 where they
    are valid UTF-8, else as Latin-1, with a warning. Control characters and direction marks are removed; the rest is
    normalised to NFC and shortened to MAX_TEXT characters, or to those of _LONGEST. Several values stay separated by a
    backslash.

    Returns:
        Text by DICOM keyword for the attributes that are present, and warnings, which contain no values.
    """
    encodings, notes = _encodings(index)
    attributes: dict[str, str] = {}
    for keyword, tag in TAGS.items():
        raw = index.value(tag)
        if not raw:
            continue
        text, exact = _decode(raw, encodings)
        if not exact:
            notes.append(image_warning("character-set-broken", f"{keyword}: {CODES['character-set-broken']}"))
        cleaned = _UNWANTED.sub("", text).strip()
        # Shorten before normalising: the time of NFC grows with the square of the number of combining marks.
        normal = unicodedata.normalize("NFC", cleaned[:MAX_TEXT])
        longest = _LONGEST.get(keyword, MAX_TEXT)
        if len(cleaned) > MAX_TEXT or len(normal) > longest:
            notes.append(image_warning("text-shortened", f"{keyword} was shortened to {longest} characters."))
        attributes[keyword] = normal[:longest]
    return attributes, notes


def _encodings(index: DicomIndex) -> tuple[list[str], list[ImageWarning]]:
    terms = [_term(term) for term in index.text(_SPECIFIC_CHARACTER_SET).split("\\")]
    known = [charset.python_encoding[term] for term in terms if term in charset.python_encoding]
    if len(known) < len(terms):
        return known or ["ascii"], [image_warning("character-set-unknown")]
    # pydicom reads the default repertoire as Latin-1. ASCII is correct, and notices letters that are not declared.
    return ["ascii" if term in ("", "ISO_IR 6") else name for term, name in zip(terms, known, strict=True)], []


def _term(term: str) -> str:
    cleaned = term.strip().upper()
    return re.sub(r"^ISO[ _-]?IR[ _-]?", "ISO_IR ", re.sub(r"^ISO[ _-]2022[ _-]IR[ _-]", "ISO 2022 IR ", cleaned))


def _decode(raw: bytes, encodings: list[str]) -> tuple[str, bool]:
    try:
        if b"\x1b" not in raw:
            return raw.decode(encodings[0]), True
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return charset.decode_bytes(raw, encodings, _DELIMITERS), True
    except (UnicodeError, LookupError, UserWarning):
        try:
            return raw.decode("utf-8"), False
        except UnicodeError:
            return raw.decode("latin-1"), False

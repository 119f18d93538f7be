"""Read the elements of a data set as bytes with their VR and character sets, without converting their values.

It uses pydicom, which has no limits of its own: read only what the preflight accepted, in a sandbox.
"""

import contextlib
import io
from dataclasses import dataclass
from typing import Any, Final

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.valuerep import PN_DELIMS, TEXT_VR_DELIMS
from pydicom.values import convert_SQ

from ml.dicom.parser import MAX_METADATA_BYTES, data_set_start, parse
from ml.dicom.source import Source, open_source
from ml.dicom.transfer_syntaxes import EXPLICIT_BE, IMPLICIT_LE

SPECIFIC_CHARACTER_SET: Final = 0x00080005
UNKNOWN: Final = "UN"
TEXT: Final = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
CODED: Final = frozenset({"AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI", "UR"})
ONE_VALUE: Final = frozenset({"LT", "ST", "UT", "UR"})
# Bytes per number, whose order Big Endian reverses.
_WORD: Final = {
    **dict.fromkeys(("AT", "OW", "SS", "US"), 2),
    **dict.fromkeys(("FL", "OF", "OL", "SL", "UL"), 4),
    **dict.fromkeys(("FD", "OD", "OV", "SV", "UV"), 8),
}


@dataclass(frozen=True, slots=True)
class Encoding:
    """How the elements of a data set are written; `charsets` are Python's names."""

    implicit: bool
    little_endian: bool
    charsets: list[str]


@dataclass(frozen=True, slots=True)
class RawValue:
    """One element: its bytes, or the items of a parsed sequence."""

    tag: int
    vr: str
    data: bytes
    items: list[Dataset] | None
    encoding: Encoding


@dataclass(frozen=True, slots=True)
class RawDataSet:
    """A data set or an item; `buffer` holds the values that were too large to be read."""

    elements: Dataset
    encoding: Encoding
    buffer: Any


def read_raw(source: Source) -> RawDataSet:
    """Read the data set of a DICOM file; pixel data stays in the file."""
    buffer, _ = open_source(source)
    index = parse(buffer)
    start = data_set_start(buffer) if index.buffer is buffer else 0
    encoding = Encoding(index.transfer_syntax_uid == IMPLICIT_LE, index.transfer_syntax_uid != EXPLICIT_BE, ["iso8859"])
    file: Any = io.BytesIO(index.buffer) if isinstance(index.buffer, bytes) else index.buffer
    file.seek(start)
    # Only pixel data can be longer than this. It is not read into memory.
    elements = read_dataset(file, encoding.implicit, encoding.little_endian, defer_size=MAX_METADATA_BYTES)
    return RawDataSet(elements, encoding, index.buffer)


def raw_value(tag: int, element: Any, encoding: Encoding, buffer: Any) -> RawValue:
    """The value of an element that `Dataset.get_item` returned, with the VR of the dictionary where it states none."""
    if not isinstance(element, RawDataElement):
        return RawValue(tag, "SQ", b"", list(element.value or ()), encoding)
    vr = element.VR or UNKNOWN
    if vr == UNKNOWN and not tag >> 16 & 1:
        with contextlib.suppress(KeyError):
            vr = dictionary_VR(tag)
    if element.VR == UNKNOWN:
        # PS3.5 section 6.2.2: UN is encoded as Implicit VR Little Endian in every transfer syntax.
        encoding = Encoding(True, True, encoding.charsets)
    # "US or SS", "OB or OW" and similar VRs all have words of two bytes.
    return RawValue(tag, "OW" if " or " in vr else vr, bytes_of(element, buffer), None, encoding)


def bytes_of(element: Any, buffer: Any) -> bytes:
    """The bytes of an element; none where it is absent or a sequence."""
    if not isinstance(element, RawDataElement):
        return b""
    if element.value is None:
        return bytes(buffer[element.value_tell : element.value_tell + element.length]) if element.length else b""
    return bytes(element.value)


def items_of(value: RawValue | None) -> list[RawDataSet]:
    """The items of a sequence."""
    if value is None or (value.items is None and not value.data):
        return []
    encoding = value.encoding
    items = value.items
    if items is None:
        items = list(convert_SQ(value.data, encoding.implicit, encoding.little_endian, encoding.charsets) or ())
    return [RawDataSet(item, encoding, b"") for item in items]


def texts_of(value: RawValue | None, vr: str) -> list[str]:
    """The values as text, without padding; an empty list where there is none."""
    if value is None:
        return []
    if vr == "PN":
        groups = value.data.split(b"=")
        text = "=".join(decode_bytes(each, value.encoding.charsets, PN_DELIMS) for each in groups)
    elif vr in TEXT:
        text = decode_bytes(value.data, value.encoding.charsets, TEXT_VR_DELIMS)
    else:
        text = value.data.decode("latin-1")
    values = [text] if vr in ONE_VALUE else text.split("\\")
    found = [each.rstrip(" \0") if vr in ONE_VALUE else each.strip(" \0") for each in values]
    if vr == "PN":
        # Empty components and component groups at the end may be left out (PS3.5 section 6.2.1.1).
        found = ["=".join(group.rstrip("^ ") for group in each.split("=")).rstrip("=") for each in found]
    return found if any(found) else []


def little_endian(value: RawValue | None, vr: str) -> bytes:
    """The bytes of a value in the order of Little Endian."""
    if value is None:
        return b""
    size = _WORD.get(vr, 1)
    if value.encoding.little_endian or size == 1 or len(value.data) % size:
        return value.data
    return b"".join(value.data[at : at + size][::-1] for at in range(0, len(value.data), size))


def charsets_of(elements: Dataset) -> list[str]:
    """Python's names of the Specific Character Set of a data set; empty where it states none."""
    names = bytes_of(elements.get_item(SPECIFIC_CHARACTER_SET, keep_deferred=True), b"").decode("latin-1").strip(" \0")
    return list(convert_encodings([each.strip() for each in names.split("\\")])) if names else []

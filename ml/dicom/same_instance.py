"""Decide whether two DICOM objects with the same SOP Instance UID are the same instance.

Systems that forward an instance may change its encoding: File Meta Information, transfer syntax, sequence lengths,
padding, character set and blocks of private elements. They may also write where it is stored (`_ROUTE`). Objects that
differ in anything else are two instances.
"""

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.valuerep import PN_DELIMS, TEXT_VR_DELIMS
from pydicom.values import convert_SQ

from ml.dicom.parser import MAX_METADATA_BYTES, PIXEL_DATA, data_set_start, parse
from ml.dicom.pixel_digest import pixel_digest
from ml.dicom.source import Source, open_source
from ml.dicom.transfer_syntaxes import EXPLICIT_BE, IMPLICIT_LE

_ROUTE: Final = frozenset(
    {
        0x00080001,  # Length to End (retired)
        0x00080054,  # Retrieve AE Title
        0x00080056,  # Instance Availability
        0x00081190,  # Retrieve URL
        0x00880130,  # Storage Media File-set ID
        0x00880140,  # Storage Media File-set UID
        0x4FFE0001,  # MAC Parameters Sequence
        0xFFFAFFFA,  # Digital Signatures Sequence
        0xFFFCFFFC,  # Data Set Trailing Padding
    }
)
# Specific Character Set: not compared, because decoded text is.
_CHARSET: Final = 0x00080005
# Compared by their decoded values (PS3.3 C.7.6.3): the pixel data and its offset tables.
_PIXELS: Final = frozenset({0x7FE00001, 0x7FE00002, 0x7FE00003, PIXEL_DATA})
# Attributes that a lossless colour codec changes together with the pixel data (PS3.5 section 8.2).
_PHOTOMETRIC, _PLANAR = 0x00280004, 0x00280006
_COLOUR = ("RGB", "YBR")
_LOSSY: Final = 0x00282110

_UNKNOWN: Final = "UN"
_TEXT: Final = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
_CODED: Final = frozenset({"AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI", "UR"})
_ONE_VALUE: Final = frozenset({"LT", "ST", "UT", "UR"})
# Bytes per number, whose order Big Endian reverses.
_WORD: Final = {
    **dict.fromkeys(("AT", "OW", "SS", "US"), 2),
    **dict.fromkeys(("FL", "OF", "OL", "SL", "UL"), 4),
    **dict.fromkeys(("FD", "OD", "OV", "SV", "UV"), 8),
}
# A tag; for a private element its creator too, because its block may have another number (PS3.5 section 7.8.1).
_Name: TypeAlias = int | tuple[int, str, int]


@dataclass(frozen=True, slots=True)
class _Encoding:
    """How the elements of a data set are written; `charsets` are Python's names."""

    implicit: bool
    little_endian: bool
    charsets: list[str]


@dataclass(frozen=True, slots=True)
class _Value:
    """One element: its bytes, or the items of a parsed sequence."""

    tag: int
    vr: str
    data: bytes
    items: list[Dataset] | None
    encoding: _Encoding


def same_instance(one: Source, other: Source) -> bool:
    """Compare two DICOM objects that the preflight accepted. Run it in a sandbox, because it decodes.

    Group lengths, padding and empty elements are ignored. Pixels are compared by `ml.dicom.pixel_digest`, so a lossless
    transfer syntax makes no difference, and a lossy one does.

    Raises:
        InputRejected: the pixels of one can't be decoded.
    """
    left, right = _read(one), _read(other)
    if not _same_elements(left, right, is_top=True):
        return False
    has_pixels = [PIXEL_DATA in each.elements for each in (left, right)]
    if not any(has_pixels):
        return True
    return all(has_pixels) and pixel_digest(one) == pixel_digest(other)


@dataclass(frozen=True, slots=True)
class _DataSet:
    elements: Dataset
    encoding: _Encoding
    buffer: Any


def _read(source: Source) -> _DataSet:
    buffer, _ = open_source(source)
    index = parse(buffer)
    start = data_set_start(buffer) if index.buffer is buffer else 0
    encoding = _Encoding(
        index.transfer_syntax_uid == IMPLICIT_LE, index.transfer_syntax_uid != EXPLICIT_BE, ["iso8859"]
    )
    file: Any = io.BytesIO(index.buffer) if isinstance(index.buffer, bytes) else index.buffer
    file.seek(start)
    # Only pixel data can be longer than this. It is not read into memory.
    elements = read_dataset(file, encoding.implicit, encoding.little_endian, defer_size=MAX_METADATA_BYTES)
    return _DataSet(elements, encoding, index.buffer)


def _same_elements(left: _DataSet, right: _DataSet, *, is_top: bool) -> bool:
    ones, others = dict(_named(left, is_top=is_top)), dict(_named(right, is_top=is_top))
    return all(
        _same_value(ones.get(name), others.get(name)) or (is_top and _same_colour(name, ones, others))
        for name in ones.keys() | others.keys()
    )


def _named(data_set: _DataSet, *, is_top: bool) -> Iterator[tuple[_Name, _Value]]:
    elements = data_set.elements
    encoding = _Encoding(
        data_set.encoding.implicit, data_set.encoding.little_endian, _charsets(elements) or data_set.encoding.charsets
    )
    for tag in sorted(map(int, elements.keys())):
        group, number = tag >> 16, tag & 0xFFFF
        if number == 0 or tag == _CHARSET or (is_top and (tag in _PIXELS or tag in _ROUTE)):
            continue
        name: _Name = tag
        if group % 2:
            if 0x10 <= number <= 0xFF:
                continue
            creator = elements.get_item(group << 16 | number >> 8, keep_deferred=True) if number >= 0x1000 else None
            name = (group, _bytes(creator, data_set.buffer).decode("latin-1").strip(" \0"), number & 0xFF)
        yield name, _value(tag, elements.get_item(tag, keep_deferred=True), encoding, data_set.buffer)


def _value(tag: int, element: Any, encoding: _Encoding, buffer: Any) -> _Value:
    if not isinstance(element, RawDataElement):
        return _Value(tag, "SQ", b"", list(element.value or ()), encoding)
    vr = element.VR or _UNKNOWN
    if vr == _UNKNOWN and not tag >> 16 & 1:
        with contextlib.suppress(KeyError):
            vr = dictionary_VR(tag)
    if element.VR == _UNKNOWN:
        # PS3.5 section 6.2.2: UN is encoded as Implicit VR Little Endian in every transfer syntax.
        encoding = _Encoding(True, True, encoding.charsets)
    # "US or SS", "OB or OW" and similar VRs all have words of two bytes.
    return _Value(tag, "OW" if " or " in vr else vr, _bytes(element, buffer), None, encoding)


def _bytes(element: Any, buffer: Any) -> bytes:
    if not isinstance(element, RawDataElement):
        return b""
    if element.value is None:
        return bytes(buffer[element.value_tell : element.value_tell + element.length]) if element.length else b""
    return bytes(element.value)


def _same_value(one: _Value | None, other: _Value | None) -> bool:
    # Where one side has an unknown VR, the other side's VR is used for both.
    vrs = sorted({each.vr for each in (one, other) if each is not None} - {_UNKNOWN})
    vr = vrs[0] if vrs else _UNKNOWN
    if "SQ" in vrs:
        ones, others = _items(one), _items(other)
        return len(ones) == len(others) and all(
            _same_elements(left, right, is_top=False) for left, right in zip(ones, others, strict=True)
        )
    if vr in _TEXT or vr in _CODED:
        return _texts(one, vr) == _texts(other, vr)
    return _same_bytes(_little_endian(one, vr), _little_endian(other, vr))


def _same_colour(name: _Name, ones: dict[_Name, _Value], others: dict[_Name, _Value]) -> bool:
    """Whether an element differs only because a colour codec was applied or undone."""
    if name not in (_PHOTOMETRIC, _PLANAR):
        return False
    kinds = [_texts(each.get(_PHOTOMETRIC), "CS") for each in (ones, others)]
    return all(len(kind) == 1 and kind[0].startswith(_COLOUR) for kind in kinds)


def _items(value: _Value | None) -> list[_DataSet]:
    if value is None or (value.items is None and not value.data):
        return []
    encoding = value.encoding
    items = value.items
    if items is None:
        items = list(convert_SQ(value.data, encoding.implicit, encoding.little_endian, encoding.charsets) or ())
    return [_DataSet(item, encoding, b"") for item in items]


def _texts(value: _Value | None, vr: str) -> list[str]:
    """The values as text, without padding; an empty list where there is none."""
    if value is None:
        return []
    if vr == "PN":
        groups = value.data.split(b"=")
        text = "=".join(decode_bytes(each, value.encoding.charsets, PN_DELIMS) for each in groups)
    elif vr in _TEXT:
        text = decode_bytes(value.data, value.encoding.charsets, TEXT_VR_DELIMS)
    else:
        text = value.data.decode("latin-1")
    values = [text] if vr in _ONE_VALUE else text.split("\\")
    found = [each.rstrip(" \0") if vr in _ONE_VALUE else each.strip(" \0") for each in values]
    if vr == "PN":
        # Empty components and component groups at the end may be left out (PS3.5 section 6.2.1.1).
        found = ["=".join(group.rstrip("^ ") for group in each.split("=")).rstrip("=") for each in found]
    if value.tag == _LOSSY and found == ["00"]:
        return []
    return found if any(found) else []


def _little_endian(value: _Value | None, vr: str) -> bytes:
    if value is None:
        return b""
    size = _WORD.get(vr, 1)
    if value.encoding.little_endian or size == 1 or len(value.data) % size:
        return value.data
    return b"".join(value.data[at : at + size][::-1] for at in range(0, len(value.data), size))


def _same_bytes(one: bytes, other: bytes) -> bool:
    """Equal, except for one byte of padding at the end of the longer one."""
    short, long = sorted((one, other), key=len)
    return long == short or (len(long) == len(short) + 1 and long[:-1] == short and long[-1:] in (b"\0", b" "))


def _charsets(elements: Dataset) -> list[str]:
    names = _bytes(elements.get_item(_CHARSET, keep_deferred=True), b"").decode("latin-1").strip(" \0")
    return list(convert_encodings([each.strip() for each in names.split("\\")])) if names else []

"""Write the attributes of a DICOM object as DICOM JSON (PS3.18 annex F), and the values that it leaves out."""

import base64
import json
import math
import re
import struct
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

from pydicom.datadict import dictionary_VR

from ml.dicom.raw_elements import (
    CODED,
    ONE_VALUE,
    SPECIFIC_CHARACTER_SET,
    TEXT,
    Encoding,
    RawDataSet,
    RawValue,
    charsets_of,
    items_of,
    little_endian,
    raw_value,
    read_raw,
    texts_of,
)
from ml.dicom.source import Source
from ml.errors import InputRejected

MAX_INLINE_BYTES: Final = 1024
"""The largest binary value that is written as InlineBinary; a longer one gets a BulkDataURI."""
_BINARY: Final = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
_NUMBERS: Final = {"FD": "d", "FL": "f", "SL": "i", "SS": "h", "SV": "q", "UL": "I", "US": "H", "UV": "Q"}
_PIXEL_REPRESENTATION: Final = 0x00280103
_PIXELS: Final = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")
_INTEGER = re.compile(r"[+-]?[0-9]{1,12}")
_PATH = re.compile(r"([0-9A-F]{8}/[1-9][0-9]{0,4}/){0,15}[0-9A-F]{8}")

Json = dict[str, Any]


def write_metadata(source: Source, target: BinaryIO, address: str) -> None:
    """Write all attributes of an object as one JSON object, in the order of their tags.

    Text is UTF-8, which the written Specific Character Set says. A value that is not valid for its VR is written as it
    is stored, or left out where JSON has no form for it (PS3.18 F.2.2).

    Args:
        source: an object that the preflight accepted.
        target: gets the JSON.
        address: of the instance; `bulkdata/...` of a left out value is appended to it.
    """
    found = _describe(read_raw(source), f"{address}/bulkdata/", signed=False, is_top=True)
    found[_key(SPECIFIC_CHARACTER_SET)] = {"vr": "CS", "Value": ["ISO_IR 192"]}
    target.write(json.dumps(dict(sorted(found.items())), ensure_ascii=False, allow_nan=False).encode())


def write_bulkdata(source: Source, target: BinaryIO, path: str) -> None:
    """Write the bytes of one value in Little Endian.

    Args:
        source: an object that the preflight accepted.
        target: gets the bytes.
        path: the tag in hexadecimal digits; inside of a sequence after the sequence's tag and the number of the item,
            such as `00283010/1/00283006`. The object's own pixel data is read by `ml.dicom.frames`.

    Raises:
        InputRejected: the object has no such value.
    """
    *parents, last = path.split("/") if _PATH.fullmatch(path) else [""]
    found = read_raw(source)
    for tag, number in zip(parents[::2], parents[1::2], strict=True):
        items = items_of(_find(found, tag))
        if int(number) > len(items):
            raise _absent()
        found = items[int(number) - 1]
    value = _find(found, last)
    if value is None or value.vr == "SQ":
        raise _absent()
    target.write(little_endian(value, value.vr))


def _absent() -> InputRejected:
    return InputRejected("malformed", "The object has no such value.")


def _find(data_set: RawDataSet, tag: str) -> RawValue | None:
    return next((value for value in _values(data_set) if _key(value.tag) == tag), None)


def _key(tag: int) -> str:
    return f"{tag:08X}"


def _values(data_set: RawDataSet, *, is_top: bool = False) -> Iterator[RawValue]:
    """The elements in their order; the pixel data of the data set itself stays in the file."""
    elements = data_set.elements
    own = charsets_of(elements)
    encoding = data_set.encoding
    if own:
        encoding = Encoding(encoding.implicit, encoding.little_endian, own)
    for tag in sorted(map(int, elements.keys())):
        element = elements.get_item(tag, keep_deferred=True)
        if is_top and tag in _PIXELS:
            yield RawValue(tag, getattr(element, "VR", None) or "OW", b"\0", None, encoding)
        elif tag & 0xFFFF:
            # Group lengths, which are left out, are retired and describe the encoding.
            yield raw_value(tag, element, encoding, data_set.buffer)


def _describe(data_set: RawDataSet, address: str, *, signed: bool, is_top: bool = False) -> Json:
    values = {value.tag: value for value in _values(data_set, is_top=is_top)}
    representation = values.get(_PIXEL_REPRESENTATION)
    if representation is not None:
        signed = little_endian(representation, "US") == b"\1\0"
    return {
        _key(tag): _element(value, f"{address}{_key(tag)}", signed=signed)
        for tag, value in values.items()
        if tag != SPECIFIC_CHARACTER_SET
    }


def _element(value: RawValue, address: str, *, signed: bool) -> Json:
    vr = _single_vr(value, signed=signed)
    if vr == "SQ":
        numbered = enumerate(items_of(value), start=1)
        items = [_describe(item, f"{address}/{number}/", signed=signed) for number, item in numbered]
        return {"vr": vr, "Value": items} if items else {"vr": vr}
    if not value.data:
        return {"vr": vr}
    if vr in _BINARY or (vr in _NUMBERS and len(value.data) > MAX_INLINE_BYTES):
        if value.tag in _PIXELS or len(value.data) > MAX_INLINE_BYTES:
            return {"vr": vr, "BulkDataURI": address}
        return {"vr": vr, "InlineBinary": base64.b64encode(little_endian(value, vr)).decode("ascii")}
    found = _plain(value, vr)
    return {"vr": vr, "Value": found} if any(each is not None for each in found) else {"vr": vr}


def _single_vr(value: RawValue, *, signed: bool) -> str:
    """The VR; where the dictionary allows US or SS, Pixel Representation decides (PS3.5 annex A.1)."""
    if value.vr == "OW" and value.tag not in _PIXELS:
        try:
            if dictionary_VR(value.tag) == "US or SS":
                return "SS" if signed else "US"
        except KeyError:
            pass
    return value.vr if value.vr in _BINARY | {"SQ", "AT"} | _NUMBERS.keys() | TEXT | CODED else "UN"


def _plain(value: RawValue, vr: str) -> list[Any]:
    if vr in _NUMBERS:
        data, size = little_endian(value, vr), struct.calcsize("<" + _NUMBERS[vr])
        count = len(data) // size
        return [_finite(each) for each in struct.unpack(f"<{count}{_NUMBERS[vr]}", data[: count * size])]
    if vr == "AT":
        data = little_endian(value, vr)
        return [f"{group:04X}{element:04X}" for group, element in struct.iter_unpack("<HH", data[: len(data) // 4 * 4])]
    texts = [text.replace("\0", "") for text in texts_of(value, vr)]
    if vr == "PN":
        return [_name(text) for text in texts]
    if vr in ("DS", "IS"):
        return [_number(text, vr) for text in texts]
    return [text if text or vr in ONE_VALUE else None for text in texts]


def _finite(number: float) -> float | None:
    """JSON has no NaN and no infinity."""
    return number if math.isfinite(number) else None


def _name(text: str) -> Json | None:
    groups = {name: group for name, group in zip(_GROUPS, text.split("="), strict=False) if group}
    return groups or None


def _number(text: str, vr: str) -> float | str | None:
    """A number where it is one; JSON allows the text of a DS or IS as well (PS3.18 table F.2.3-1)."""
    if not text:
        return None
    if _INTEGER.fullmatch(text):
        return int(text)
    try:
        number = float(text) if vr == "DS" and len(text) <= 32 else math.nan
    except ValueError:
        return text
    return number if math.isfinite(number) else text

"""Decide whether two DICOM objects with the same SOP Instance UID are the same instance.

Systems that forward an instance may change its encoding: File Meta Information, transfer syntax, sequence lengths,
padding, character set and blocks of private elements. They may also write where it is stored (`_ROUTE`). Objects that
differ in anything else are two instances.
"""

from collections.abc import Iterator
from typing import Final, TypeAlias

from ml.dicom.parser import PIXEL_DATA
from ml.dicom.pixel_digest import pixel_digest
from ml.dicom.raw_elements import (
    CODED,
    SPECIFIC_CHARACTER_SET,
    TEXT,
    UNKNOWN,
    Encoding,
    RawDataSet,
    RawValue,
    bytes_of,
    charsets_of,
    items_of,
    little_endian,
    raw_value,
    read_raw,
    texts_of,
)
from ml.dicom.source import Source

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
# Compared by their decoded values (PS3.3 C.7.6.3): the pixel data and its offset tables.
_PIXELS: Final = frozenset({0x7FE00001, 0x7FE00002, 0x7FE00003, PIXEL_DATA})
# Attributes that a lossless colour codec changes together with the pixel data (PS3.5 section 8.2).
_PHOTOMETRIC, _PLANAR = 0x00280004, 0x00280006
_COLOUR = ("RGB", "YBR")
_LOSSY: Final = 0x00282110
# A tag; for a private element its creator too, because its block may have another number (PS3.5 section 7.8.1).
_Name: TypeAlias = int | tuple[int, str, int]


def same_instance(one: Source, other: Source) -> bool:
    """Compare two DICOM objects that the preflight accepted. Run it in a sandbox, because it decodes.

    Group lengths, padding and empty elements are ignored. Pixels are compared by `ml.dicom.pixel_digest`, so a lossless
    transfer syntax makes no difference, and a lossy one does.

    Raises:
        InputRejected: the pixels of one can't be decoded.
    """
    left, right = read_raw(one), read_raw(other)
    if not _same_elements(left, right, is_top=True):
        return False
    has_pixels = [PIXEL_DATA in each.elements for each in (left, right)]
    if not any(has_pixels):
        return True
    return all(has_pixels) and pixel_digest(one) == pixel_digest(other)


def _same_elements(left: RawDataSet, right: RawDataSet, *, is_top: bool) -> bool:
    ones, others = dict(_named(left, is_top=is_top)), dict(_named(right, is_top=is_top))
    return all(
        _same_value(ones.get(name), others.get(name)) or (is_top and _same_colour(name, ones, others))
        for name in ones.keys() | others.keys()
    )


def _named(data_set: RawDataSet, *, is_top: bool) -> Iterator[tuple[_Name, RawValue]]:
    elements = data_set.elements
    encoding = Encoding(
        data_set.encoding.implicit, data_set.encoding.little_endian, charsets_of(elements) or data_set.encoding.charsets
    )
    for tag in sorted(map(int, elements.keys())):
        group, number = tag >> 16, tag & 0xFFFF
        # Decoded text is compared and not its character set.
        if number == 0 or tag == SPECIFIC_CHARACTER_SET or (is_top and (tag in _PIXELS or tag in _ROUTE)):
            continue
        name: _Name = tag
        if group % 2:
            if 0x10 <= number <= 0xFF:
                continue
            creator = elements.get_item(group << 16 | number >> 8, keep_deferred=True) if number >= 0x1000 else None
            name = (group, bytes_of(creator, data_set.buffer).decode("latin-1").strip(" \0"), number & 0xFF)
        yield name, raw_value(tag, elements.get_item(tag, keep_deferred=True), encoding, data_set.buffer)


def _same_value(one: RawValue | None, other: RawValue | None) -> bool:
    # Where one side has an unknown VR, the other side's VR is used for both.
    vrs = sorted({each.vr for each in (one, other) if each is not None} - {UNKNOWN})
    vr = vrs[0] if vrs else UNKNOWN
    if "SQ" in vrs:
        ones, others = items_of(one), items_of(other)
        return len(ones) == len(others) and all(
            _same_elements(left, right, is_top=False) for left, right in zip(ones, others, strict=True)
        )
    if vr in TEXT or vr in CODED:
        return _texts(one, vr) == _texts(other, vr)
    return _same_bytes(little_endian(one, vr), little_endian(other, vr))


def _texts(value: RawValue | None, vr: str) -> list[str]:
    found = texts_of(value, vr)
    # An absent Lossy Image Compression means the same as "00".
    return [] if value is not None and value.tag == _LOSSY and found == ["00"] else found


def _same_colour(name: _Name, ones: dict[_Name, RawValue], others: dict[_Name, RawValue]) -> bool:
    """Whether an element differs only because a colour codec was applied or undone."""
    if name not in (_PHOTOMETRIC, _PLANAR):
        return False
    kinds = [texts_of(each.get(_PHOTOMETRIC), "CS") for each in (ones, others)]
    return all(len(kind) == 1 and kind[0].startswith(_COLOUR) for kind in kinds)


def _same_bytes(one: bytes, other: bytes) -> bool:
    """Equal, except for one byte of padding at the end of the longer one."""
    short, long = sorted((one, other), key=len)
    return long == short or (len(long) == len(short) + 1 and long[:-1] == short and long[-1:] in (b"\0", b" "))

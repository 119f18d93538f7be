"""The DICOM parser: one bounded pass over a file that records where each element is, without decoding values.

All later steps use its index, so no second parser can read the same bytes in another way. Nested sequences are kept on
a list, because recursion would have no limit of its own.
"""

import mmap
import struct
from dataclasses import dataclass, field
from typing import Final

from ml.dicom.dictionary import is_standard_sequence
from ml.dicom.image_warnings import ImageWarning, image_warning
from ml.dicom.source import inflate
from ml.dicom.transfer_syntaxes import DEFLATED_LE, EXPLICIT_BE, IMPLICIT_LE, NATIVE, TRANSFER_SYNTAXES
from ml.errors import InputRejected

MAX_DEPTH: Final = 16
MAX_ELEMENTS: Final = 50_000
MAX_ITEMS: Final = 20_000
MAX_METADATA_BYTES: Final = 16 << 20
MAX_FILE_META_BYTES: Final = 64 << 10
UNDEFINED: Final = 0xFFFFFFFF
PIXEL_DATA: Final = 0x7FE00010
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
MODALITY_LUT_SEQUENCE: Final = 0x00283000
VOI_LUT_SEQUENCE: Final = 0x00283010
ENCAPSULATED_DOCUMENT: Final = 0x00420011
# Values that are recorded inside sequences: codes and references of key objects and source images (see `DicomIndex`).
_NESTED_SEQUENCES = frozenset((0x0040A043, 0x0040A375, 0x0040A730, 0x00082112))
_NESTED_VALUES = frozenset((0x00080100, 0x00080102, 0x00081155, 0x0020000D))

# PS3.5 sections 7.1, 7.5 and 7.8: groups of commands, file meta, directory and delimiters, not allowed in a data set.
_FORBIDDEN_GROUPS = frozenset((0x0000, 0x0002, 0x0004, 0xFFFE, 0xFFFF))
_SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
_LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())


@dataclass(frozen=True, slots=True)
class Element:
    """The place of a value: `length` bytes from `start`. `vr` is empty in Implicit VR."""

    vr: str
    start: int
    length: int


@dataclass(slots=True)
class DicomIndex:
    """The index of one DICOM object: the places of its elements in `buffer`.

    Attributes:
        buffer: the file, or the inflated copy of a deflated object.
        transfer_syntax_uid: of the file.
        meta: File Meta Information, values by tag.
        elements: the elements at the top level, by tag.
        items: elements of the first item of each LUT sequence.
        nested: codes and references below the document title, the evidence, the content and the source images, each as
            (number of the outermost item, path of tags, element).
        offset_table: Basic Offset Table of encapsulated pixel data.
        fragments: (start, length) of encapsulated pixel data, without the offset table.
        warnings: found so far.
    """

    buffer: bytes | mmap.mmap
    transfer_syntax_uid: str
    meta: dict[int, bytes]
    elements: dict[int, Element] = field(default_factory=dict)
    items: dict[int, dict[int, Element]] = field(default_factory=dict)
    nested: list[tuple[int, tuple[int, ...], Element]] = field(default_factory=list)
    offset_table: tuple[int, ...] = ()
    fragments: list[tuple[int, int]] = field(default_factory=list)
    warnings: list[ImageWarning] = field(default_factory=list)

    def warn(self, code: str) -> None:
        """Add a warning of `ml.dicom.image_warnings.CODES`."""
        self.warnings.append(image_warning(code))

    @property
    def big_endian(self) -> bool:
        return self.transfer_syntax_uid == EXPLICIT_BE

    @property
    def encapsulated(self) -> bool:
        return self.transfer_syntax_uid not in NATIVE

    def value(self, tag: int, elements: dict[int, Element] | None = None) -> bytes:
        """The bytes of an element of the top level, or of `elements`; empty where it is absent."""
        element = (self.elements if elements is None else elements).get(tag)
        return b"" if element is None else self.buffer[element.start : element.start + element.length]

    def text(self, tag: int) -> str:
        """A value of the default repertoire (CS, DS, IS, UI) without padding, at most its first 4,096 bytes."""
        element = self.elements.get(tag)
        if element is None:
            return ""
        raw = self.buffer[element.start : element.start + min(element.length, 4096)]
        return raw.decode("latin-1").strip(" \0")

    def unsigned(self, tag: int) -> int | None:
        """A single US value, or None where it is absent, of another VR or not two bytes long."""
        element = self.elements.get(tag)
        if element is None or element.length != 2 or element.vr not in ("US", ""):
            return None
        return int.from_bytes(self.value(tag), "big" if self.big_endian else "little")


@dataclass(slots=True)
class _Level:
    """A data set, sequence or item that the parser is inside of."""

    is_sequence: bool
    end: int
    undefined: bool
    implicit: bool
    big_endian: bool
    record: dict[int, Element] | None
    tag: int = 0
    path: tuple[int, ...] = ()
    item: int = 0


def parse(buffer: bytes | mmap.mmap) -> DicomIndex:
    """Index a PS3.10 file (preamble, File Meta Information, data set).

    The caller has checked the 128-byte preamble and "DICM" (section 7.1; `ml.dicom.source.open_source`). Time is
    bounded by MAX_ELEMENTS, memory by that and by the limit of `inflate`.

    Raises:
        InputRejected: the file breaks the encoding rules or a limit.
    """
    meta, start, transfer_syntax = _read_file_meta(buffer)
    if transfer_syntax not in TRANSFER_SYNTAXES:
        raise InputRejected(
            "transfer-syntax-not-supported",
            "Send it uncompressed, or as RLE, JPEG Baseline, Extended or Lossless, JPEG-LS, JPEG 2000 or HTJ2K.",
        )
    if transfer_syntax == DEFLATED_LE:
        buffer, start = inflate(buffer, start), 0
    index = DicomIndex(buffer, transfer_syntax, meta)
    _Parser(index).run(start)
    return index


def data_set_start(buffer: bytes | mmap.mmap) -> int:
    """Offset of the data set, which follows the File Meta Information.

    Raises:
        InputRejected: the File Meta Information is damaged.
    """
    return _read_file_meta(buffer)[1]


def _read_file_meta(buffer: bytes | mmap.mmap) -> tuple[dict[int, bytes], int, str]:
    """Read group 0002, always Explicit VR Little Endian (PS3.10 section 7.1): elements, end, Transfer Syntax UID."""
    pos, size = 132, len(buffer)
    meta: dict[int, bytes] = {}
    while size - pos >= 8 and buffer[pos : pos + 2] == b"\x02\x00":
        (element_number,) = struct.unpack_from("<H", buffer, pos + 2)
        vr = buffer[pos + 4 : pos + 6]
        if vr in _SHORT_VRS:
            length, value_at = struct.unpack_from("<H", buffer, pos + 6)[0], pos + 8
        elif vr in _LONG_VRS and vr != b"SQ" and size - pos >= 12:
            length, value_at = struct.unpack_from("<I", buffer, pos + 8)[0], pos + 12
        else:
            raise _bad_meta("has an unknown value representation")
        tag = 0x00020000 | element_number
        if length > size - value_at or value_at + length - 132 > MAX_FILE_META_BYTES:
            raise _bad_meta("announces more bytes than it may have")
        if tag in meta:
            raise _bad_meta("repeats an element")
        meta[tag] = buffer[value_at : value_at + length]
        pos = value_at + length
    uid = meta.get(0x00020010, b"").decode("latin-1").strip(" \0")
    if not 0 < len(uid) <= 64:
        raise _bad_meta("has no usable Transfer Syntax UID")
    return meta, pos, uid


def _bad_meta(what: str) -> InputRejected:
    return InputRejected(
        "file-meta-invalid", f"The File Meta Information {what}. Export the file again as DICOM Part 10."
    )


class _Parser:
    def __init__(self, index: DicomIndex) -> None:
        self.index = index
        self.buffer = index.buffer
        self.elements = self.items = self.metadata_bytes = 0
        self.stack: list[_Level] = []

    def run(self, pos: int) -> None:
        implicit = self.index.transfer_syntax_uid == IMPLICIT_LE
        root = _Level(False, len(self.buffer), False, implicit, self.index.big_endian, self.index.elements)
        self.stack = [root]
        while self.stack:
            level = self.stack[-1]
            if pos == level.end and not level.undefined:
                self.stack.pop()
            elif level.end - pos < 8:
                if level is root and not any(self.buffer[pos : level.end]):
                    self.index.warn("trailing-bytes")
                    return
                raise _truncated()
            elif level.is_sequence:
                pos = self._next_item(pos, level)
            else:
                pos = self._next_element(pos, level)

    def _next_item(self, pos: int, level: _Level) -> int:
        tag, length = self._tag(pos, level), self._u32(pos + 4, level)
        pos += 8
        if tag == _SEQUENCE_END and level.undefined:
            self.stack.pop()
            return pos
        if tag != _ITEM:
            raise InputRejected("malformed", "A sequence holds something other than items. Export the file again.")
        self._count_item()
        end = self._end(pos, length, level)
        record: dict[int, Element] | None = None
        if level.tag in (MODALITY_LUT_SEQUENCE, VOI_LUT_SEQUENCE) and level.tag not in self.index.items:
            record = self.index.items.setdefault(level.tag, {})
        nested_level = _Level(False, end, length == UNDEFINED, level.implicit, level.big_endian, record)
        level.item += len(level.path) == 1
        nested_level.path, nested_level.item = level.path, level.item
        self.stack.append(nested_level)
        return pos

    def _next_element(self, pos: int, level: _Level) -> int:
        tag = self._tag(pos, level)
        if tag == _ITEM_END and level.undefined:
            self.stack.pop()
            return pos + 8
        if tag >> 16 in _FORBIDDEN_GROUPS:
            raise InputRejected(
                "malformed", "The data set holds an element that no data set may hold. Export the file again."
            )
        vr, length, pos = self._header(pos, level)
        if level.record is not None:
            if tag in level.record:
                raise InputRejected("malformed", "The data set repeats an element. Export the file again.")
            level.record[tag] = Element(vr, pos, length)
        if level.path and tag in _NESTED_VALUES and length != UNDEFINED:
            self.index.nested.append((level.item, (*level.path, tag), Element(vr, pos, length)))
        if tag == PIXEL_DATA and length == UNDEFINED:
            return self._fragments(pos, level)
        if length == UNDEFINED or vr == "SQ" or (vr in ("", "UN") and length and is_standard_sequence(tag)):
            return self._open_sequence(tag, vr, length, pos, level)
        end = self._end(pos, length, level)
        if tag not in (PIXEL_DATA, ENCAPSULATED_DOCUMENT) or len(self.stack) > 1:
            self._count_bytes(length)
        return end

    def _header(self, pos: int, level: _Level) -> tuple[str, int, int]:
        """VR, length and start of the value (PS3.5 sections 7.1.2 and 7.1.3)."""
        self.elements += 1
        if self.elements > MAX_ELEMENTS:
            raise InputRejected("too-many-elements", f"A radiograph needs far fewer than {MAX_ELEMENTS} elements.")
        if level.implicit:
            return "", self._u32(pos + 4, level), pos + 8
        vr = self.buffer[pos + 4 : pos + 6]
        if vr in _SHORT_VRS:
            return (
                vr.decode("ascii"),
                struct.unpack_from(">H" if level.big_endian else "<H", self.buffer, pos + 6)[0],
                pos + 8,
            )
        if vr not in _LONG_VRS:
            raise InputRejected("malformed", "An element has an unknown value representation. Export the file again.")
        if level.end - pos < 12:
            raise _truncated()
        return vr.decode("ascii"), self._u32(pos + 8, level), pos + 12

    def _open_sequence(self, tag: int, vr: str, length: int, pos: int, level: _Level) -> int:
        if vr not in ("SQ", "UN", ""):
            raise InputRejected("malformed", "An element of undefined length is not a sequence. Export the file again.")
        if len(self.stack) // 2 >= MAX_DEPTH:
            raise InputRejected("too-deep", f"A radiograph needs no more than {MAX_DEPTH} nested sequences.")
        # PS3.5 section 6.2.2, note 5: a sequence sent as UN is Implicit VR Little Endian in every transfer syntax.
        unknown = vr == "UN"
        end = self._end(pos, length, level)
        implicit, big_endian = level.implicit or unknown, level.big_endian and not unknown
        is_root = level.record is self.index.elements
        nested_level = _Level(True, end, length == UNDEFINED, implicit, big_endian, None, tag if is_root else 0)
        if level.path or (is_root and tag in _NESTED_SEQUENCES):
            nested_level.path, nested_level.item = (*level.path, tag), level.item
        self.stack.append(nested_level)
        return pos

    def _fragments(self, pos: int, level: _Level) -> int:
        """Read encapsulated pixel data (PS3.5 annex A.4): an offset table, fragments and a delimiter."""
        if not self.index.encapsulated:
            raise InputRejected("malformed", "The pixel data has no length in an uncompressed transfer syntax.")
        found: list[tuple[int, int]] = []
        while True:
            if level.end - pos < 8:
                raise _truncated()
            tag, length = self._tag(pos, level), self._u32(pos + 4, level)
            pos += 8
            if tag == _SEQUENCE_END:
                break
            if tag != _ITEM or length == UNDEFINED:
                raise InputRejected("codestream-invalid", "The compressed pixel data is not a list of fragments.")
            self._count_item()
            found.append((pos, length))
            pos = self._end(pos, length, level)
        if len(self.stack) > 1:
            self._count_bytes(sum(length for _, length in found))
        elif found:
            start, length = found[0]
            self.index.offset_table = struct.unpack_from(f"<{min(length // 4, MAX_ITEMS)}I", self.buffer, start)
            self.index.fragments = found[1:]
        return pos

    def _tag(self, pos: int, level: _Level) -> int:
        group, element = struct.unpack_from(">HH" if level.big_endian else "<HH", self.buffer, pos)
        return int(group << 16 | element)

    def _u32(self, pos: int, level: _Level) -> int:
        return int(struct.unpack_from(">I" if level.big_endian else "<I", self.buffer, pos)[0])

    def _end(self, pos: int, length: int, level: _Level) -> int:
        if length == UNDEFINED:
            return level.end
        if length > level.end - pos:
            raise _truncated()
        return pos + length

    def _count_item(self) -> None:
        self.items += 1
        if self.items > MAX_ITEMS:
            raise InputRejected("too-many-items", f"A radiograph needs far fewer than {MAX_ITEMS} items.")

    def _count_bytes(self, length: int) -> None:
        self.metadata_bytes += length
        if self.metadata_bytes > MAX_METADATA_BYTES:
            raise InputRejected("metadata-too-large", f"{MAX_METADATA_BYTES >> 20} MiB beside the pixels is the limit.")


def _truncated() -> InputRejected:
    return InputRejected(
        "truncated", "The file ends, or an item ends, before what it announces. Send it again from the source."
    )

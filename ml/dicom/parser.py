"""One bounded pass over a DICOM file: where each element lies, and nothing decoded.

This is the only DICOM parser between the network and the decoders: what it has not seen is never used, so there is no
second reading of the same bytes to disagree with it. Nesting is kept in a list and not in a recursion.
"""

import mmap
import struct
from dataclasses import dataclass, field
from typing import Final

from ml.dicom.image_warnings import ImageWarning, image_warning
from ml.dicom.source import inflate
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
# What is looked up inside sequences: codes and references of key objects and of source images (see `DicomIndex`).
_NESTED_SEQUENCES = frozenset((0x0040A043, 0x0040A375, 0x0040A730, 0x00082112))
_NESTED_VALUES = frozenset((0x00080100, 0x00080102, 0x00081155, 0x0020000D))

# PS3.5 sections 7.1, 7.5 and 7.8: commands, file meta, directory, delimiters and the void have no place in a data set.
_FORBIDDEN_GROUPS = frozenset((0x0000, 0x0002, 0x0004, 0xFFFE, 0xFFFF))
_SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
_LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())

IMPLICIT_LE: Final = "1.2.840.10008.1.2"
EXPLICIT_LE: Final = "1.2.840.10008.1.2.1"
DEFLATED_LE: Final = "1.2.840.10008.1.2.1.99"
EXPLICIT_BE: Final = "1.2.840.10008.1.2.2"
NATIVE: Final = frozenset({IMPLICIT_LE, EXPLICIT_LE, DEFLATED_LE, EXPLICIT_BE})
RLE: Final = "1.2.840.10008.1.2.5"
JPEG: Final = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 57, 70))
JPEG_LS: Final = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in (80, 81))
JPEG_2000: Final = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in (90, 91, 201, 202, 203))
TRANSFER_SYNTAXES: Final = NATIVE | {RLE} | JPEG | JPEG_LS | JPEG_2000


@dataclass(frozen=True, slots=True)
class Element:
    """Where a value lies: `length` bytes from `start`. `vr` is empty in Implicit VR."""

    vr: str
    start: int
    length: int


@dataclass(slots=True)
class DicomIndex:
    """Where everything is in one DICOM object.

    `items` holds the first item of the LUT sequences. `fragments` are (start, length) of encapsulated pixel data
    without its offset table. Offsets count in `buffer`, which is the inflated copy for a deflated object. `nested`
    holds the codes and references below the document title, the evidence, the content and the source images: number of
    the outermost item, path of tags, element.
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
        """The bytes of a top-level element (or of one in `elements`); empty where it is absent."""
        element = (self.elements if elements is None else elements).get(tag)
        return b"" if element is None else self.buffer[element.start : element.start + element.length]

    def text(self, tag: int) -> str:
        """A value of the default repertoire (CS, DS, IS, UI), padding stripped; the first 4,096 bytes of it."""
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
class _Frame:
    """An open data set, sequence or item on the way down."""

    is_sequence: bool
    end: int
    undefined: bool
    implicit: bool
    big_endian: bool
    record: dict[int, Element] | None
    tag: int = 0
    path: tuple[int, ...] = ()
    item: int = 0


def walk(buffer: bytes | mmap.mmap) -> DicomIndex:
    """Index a PS3.10 file (preamble, File Meta Information, data set) within the limits above.

    Files without the 128-byte preamble and "DICM" are not PS3.10 (section 7.1) and are refused by the caller's look at
    the first bytes. Raises InputRejected; time is bounded by MAX_ELEMENTS, memory by it and the limit of `inflate`.
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
    _Walker(index).run(start)
    return index


def data_set_start(buffer: bytes | mmap.mmap) -> int:
    """Offset of the data set, which begins behind the File Meta Information. Raises InputRejected."""
    return _read_file_meta(buffer)[1]


def _read_file_meta(buffer: bytes | mmap.mmap) -> tuple[dict[int, bytes], int, str]:
    """Group 0002, always Explicit VR Little Endian (PS3.10 section 7.1): elements, end, Transfer Syntax UID."""
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
        "file-meta-invalid", f"The File Meta Information {what}. Export the file anew as DICOM Part 10."
    )


class _Walker:
    def __init__(self, index: DicomIndex) -> None:
        self.index = index
        self.buffer = index.buffer
        self.elements = self.items = self.metadata_bytes = 0
        self.stack: list[_Frame] = []

    def run(self, pos: int) -> None:
        implicit = self.index.transfer_syntax_uid == IMPLICIT_LE
        root = _Frame(False, len(self.buffer), False, implicit, self.index.big_endian, self.index.elements)
        self.stack = [root]
        while self.stack:
            frame = self.stack[-1]
            if pos == frame.end and not frame.undefined:
                self.stack.pop()
            elif frame.end - pos < 8:
                if frame is root and not any(self.buffer[pos : frame.end]):
                    self.index.warn("trailing-bytes")
                    return
                raise _truncated()
            elif frame.is_sequence:
                pos = self._next_item(pos, frame)
            else:
                pos = self._next_element(pos, frame)

    def _next_item(self, pos: int, frame: _Frame) -> int:
        tag, length = self._tag(pos, frame), self._u32(pos + 4, frame)
        pos += 8
        if tag == _SEQUENCE_END and frame.undefined:
            self.stack.pop()
            return pos
        if tag != _ITEM:
            raise InputRejected("malformed", "A sequence holds something other than items. Export the file anew.")
        self._count_item()
        end = self._end(pos, length, frame)
        record: dict[int, Element] | None = None
        if frame.tag in (MODALITY_LUT_SEQUENCE, VOI_LUT_SEQUENCE) and frame.tag not in self.index.items:
            record = self.index.items.setdefault(frame.tag, {})
        opened = _Frame(False, end, length == UNDEFINED, frame.implicit, frame.big_endian, record)
        frame.item += len(frame.path) == 1
        opened.path, opened.item = frame.path, frame.item
        self.stack.append(opened)
        return pos

    def _next_element(self, pos: int, frame: _Frame) -> int:
        tag = self._tag(pos, frame)
        if tag == _ITEM_END and frame.undefined:
            self.stack.pop()
            return pos + 8
        if tag >> 16 in _FORBIDDEN_GROUPS:
            raise InputRejected(
                "malformed", "The data set holds an element that no data set may hold. Export the file anew."
            )
        vr, length, pos = self._header(pos, frame)
        if frame.record is not None:
            if tag in frame.record:
                raise InputRejected("malformed", "The data set repeats an element. Export the file anew.")
            frame.record[tag] = Element(vr, pos, length)
        if frame.path and tag in _NESTED_VALUES and length != UNDEFINED:
            self.index.nested.append((frame.item, (*frame.path, tag), Element(vr, pos, length)))
        if tag == PIXEL_DATA and length == UNDEFINED:
            return self._fragments(pos, frame)
        if length == UNDEFINED or vr == "SQ" or (vr in ("", "UN") and length and _is_standard_sequence(tag)):
            return self._open_sequence(tag, vr, length, pos, frame)
        end = self._end(pos, length, frame)
        if tag not in (PIXEL_DATA, ENCAPSULATED_DOCUMENT) or len(self.stack) > 1:
            self._count_bytes(length)
        return end

    def _header(self, pos: int, frame: _Frame) -> tuple[str, int, int]:
        """VR, length and place of the value (PS3.5 section 7.1.2 and 7.1.3)."""
        self.elements += 1
        if self.elements > MAX_ELEMENTS:
            raise InputRejected("too-many-elements", f"A radiograph needs far fewer than {MAX_ELEMENTS} elements.")
        if frame.implicit:
            return "", self._u32(pos + 4, frame), pos + 8
        vr = self.buffer[pos + 4 : pos + 6]
        if vr in _SHORT_VRS:
            return (
                vr.decode("ascii"),
                struct.unpack_from(">H" if frame.big_endian else "<H", self.buffer, pos + 6)[0],
                pos + 8,
            )
        if vr not in _LONG_VRS:
            raise InputRejected("malformed", "An element has an unknown value representation. Export the file anew.")
        if frame.end - pos < 12:
            raise _truncated()
        return vr.decode("ascii"), self._u32(pos + 8, frame), pos + 12

    def _open_sequence(self, tag: int, vr: str, length: int, pos: int, frame: _Frame) -> int:
        if vr not in ("SQ", "UN", ""):
            raise InputRejected("malformed", "An element of undefined length is no sequence. Export the file anew.")
        if len(self.stack) // 2 >= MAX_DEPTH:
            raise InputRejected("too-deep", f"A radiograph needs no more than {MAX_DEPTH} nested sequences.")
        # PS3.5 section 6.2.2, note 5: whatever the transfer syntax, a sequence sent as UN is Implicit VR Little Endian.
        unknown = vr == "UN"
        end = self._end(pos, length, frame)
        implicit, big_endian = frame.implicit or unknown, frame.big_endian and not unknown
        is_root = frame.record is self.index.elements
        opened = _Frame(True, end, length == UNDEFINED, implicit, big_endian, None, tag if is_root else 0)
        if frame.path or (is_root and tag in _NESTED_SEQUENCES):
            opened.path, opened.item = (*frame.path, tag), frame.item
        self.stack.append(opened)
        return pos

    def _fragments(self, pos: int, frame: _Frame) -> int:
        """Encapsulated pixel data (PS3.5 annex A.4): an offset table, then fragments, then a delimiter."""
        if not self.index.encapsulated:
            raise InputRejected("malformed", "The pixel data has no length in an uncompressed transfer syntax.")
        found: list[tuple[int, int]] = []
        while True:
            if frame.end - pos < 8:
                raise _truncated()
            tag, length = self._tag(pos, frame), self._u32(pos + 4, frame)
            pos += 8
            if tag == _SEQUENCE_END:
                break
            if tag != _ITEM or length == UNDEFINED:
                raise InputRejected("codestream-invalid", "The compressed pixel data is not a list of fragments.")
            self._count_item()
            found.append((pos, length))
            pos = self._end(pos, length, frame)
        if len(self.stack) > 1:
            self._count_bytes(sum(length for _, length in found))
        elif found:
            start, length = found[0]
            self.index.offset_table = struct.unpack_from(f"<{min(length // 4, MAX_ITEMS)}I", self.buffer, start)
            self.index.fragments = found[1:]
        return pos

    def _tag(self, pos: int, frame: _Frame) -> int:
        group, element = struct.unpack_from(">HH" if frame.big_endian else "<HH", self.buffer, pos)
        return int(group << 16 | element)

    def _u32(self, pos: int, frame: _Frame) -> int:
        return int(struct.unpack_from(">I" if frame.big_endian else "<I", self.buffer, pos)[0])

    def _end(self, pos: int, length: int, frame: _Frame) -> int:
        if length == UNDEFINED:
            return frame.end
        if length > frame.end - pos:
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


def _is_standard_sequence(tag: int) -> bool:
    if tag >> 16 & 1:
        return False
    from pydicom.datadict import dictionary_VR

    try:
        return dictionary_VR(tag) == "SQ"
    except KeyError:
        return False


def _truncated() -> InputRejected:
    return InputRejected(
        "truncated", "The file ends, or an item ends, before what it announces. Send it again from the source."
    )

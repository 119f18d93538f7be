"""Parses PDUs of the DICOM Upper Layer as far as needed before pynetdicom gets them (PS3.8 9.3)."""

import re
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

HEADER_BYTES: Final = 6
MAX_REQUEST_BYTES: Final = 64 * 1024
# The fields before the variable items of an A-ASSOCIATE-RQ, after its header (PS3.8 table 9-11).
_FIXED_BYTES: Final = 68
_AE_BYTES: Final = 16
_ITEM_HEADER_BYTES: Final = 4
_PDV_HEADER_BYTES: Final = 2
_NOT_OF_A_TITLE: Final = re.compile(r"[^ -~]")
_VERSION_1: Final = 0x0001
_LAST_FRAGMENT: Final = 0b10
_COMMAND: Final = 0b01


class PduType(IntEnum):
    ASSOCIATE_RQ = 0x01
    ASSOCIATE_AC = 0x02
    ASSOCIATE_RJ = 0x03
    P_DATA = 0x04
    RELEASE_RQ = 0x05
    RELEASE_RP = 0x06
    ABORT = 0x07


_TYPES: Final = frozenset(PduType)


class AbortReason(IntEnum):
    """Why the service provider aborts (PS3.8 table 9-26)."""

    NOT_SPECIFIED = 0x00
    UNRECOGNISED_PDU = 0x01
    UNEXPECTED_PDU = 0x02
    INVALID_PARAMETER_VALUE = 0x06


class Rejection(tuple[int, int, int]):
    """Result, source and reason of an A-ASSOCIATE-RJ (PS3.8 table 9-21)."""

    __slots__ = ()


# For every caller that may not send, whatever the reason: permanent, by the service user, no reason given.
REFUSED: Final = Rejection((0x01, 0x01, 0x01))
VERSION_NOT_SUPPORTED: Final = Rejection((0x01, 0x02, 0x02))
# Transient, by the presentation service provider: the caller may try again.
CONGESTION: Final = Rejection((0x02, 0x03, 0x01))
LOCAL_LIMIT: Final = Rejection((0x02, 0x03, 0x02))


class PduError(Exception):
    """The peer violated the protocol; the answer is an A-ABORT."""

    def __init__(self, reason: AbortReason) -> None:
        super().__init__(reason.name)
        self.reason = reason


def parse_pdu_header(data: bytes | bytearray) -> tuple[PduType, int]:
    """Type and length of a PDU, from its first six bytes.

    Raises:
        PduError: no such type.
    """
    kind, length = struct.unpack_from(">BxI", data)
    if kind not in _TYPES:
        raise PduError(AbortReason.UNRECOGNISED_PDU)
    return PduType(kind), length


def associate_rj(rejection: Rejection) -> bytes:
    """An A-ASSOCIATE-RJ."""
    return struct.pack(">BxIxBBB", PduType.ASSOCIATE_RJ, 4, *rejection)


def a_abort(reason: AbortReason) -> bytes:
    """An A-ABORT by the service provider."""
    return struct.pack(">BxIxxBB", PduType.ABORT, 4, 0x02, reason)


@dataclass(frozen=True)
class AssociateRequest:
    """An A-ASSOCIATE-RQ.

    Attributes:
        called, calling: the AE titles without padding. A backslash, which no AE title has, replaces each invalid
            character.
        has_version_1: whether the peer supports version 1 of the protocol.
        pdu: the whole PDU with titles and version in normal form.
    """

    called: str
    calling: str
    has_version_1: bool
    pdu: bytes


def parse_request(pdu: bytes) -> AssociateRequest:
    """Read a whole A-ASSOCIATE-RQ: its titles and its version; check the lengths of its items.

    Raises:
        PduError: it is too short, or the lengths of its items do not match.
    """
    if len(pdu) < HEADER_BYTES + _FIXED_BYTES:
        raise PduError(AbortReason.INVALID_PARAMETER_VALUE)
    version, called, calling = struct.unpack_from(f">H2x{_AE_BYTES}s{_AE_BYTES}s", pdu, HEADER_BYTES)
    _require_whole_items(pdu[HEADER_BYTES + _FIXED_BYTES :])
    titles = _title(called), _title(calling)
    fixed = struct.pack(">H2x", _VERSION_1) + b"".join(each.encode().ljust(_AE_BYTES) for each in titles)
    rest = pdu[HEADER_BYTES + len(fixed) :]
    return AssociateRequest(*titles, bool(version & _VERSION_1), pdu[:HEADER_BYTES] + fixed + rest)


def ends_data_set(data: bytes | bytearray, start: int, end: int) -> bool:
    """Whether the P-DATA-TF in ``data[start:end]`` holds the last fragment of a data set (PS3.8 9.3.5.1, annex E.2).

    Raises:
        PduError: the lengths of its presentation data values do not match.
    """
    position, found = start + HEADER_BYTES, False
    while position < end:
        if position + _ITEM_HEADER_BYTES + _PDV_HEADER_BYTES > end:
            raise PduError(AbortReason.INVALID_PARAMETER_VALUE)
        (length,) = struct.unpack_from(">I", data, position)
        # The value begins with a presentation context ID and a message control header.
        control = data[position + _ITEM_HEADER_BYTES + 1]
        position += _ITEM_HEADER_BYTES + length
        if length < _PDV_HEADER_BYTES or position > end:
            raise PduError(AbortReason.INVALID_PARAMETER_VALUE)
        found = found or (control & (_LAST_FRAGMENT | _COMMAND)) == _LAST_FRAGMENT
    return found


def _require_whole_items(items: bytes) -> None:
    position = 0
    while position < len(items):
        if position + _ITEM_HEADER_BYTES > len(items):
            raise PduError(AbortReason.INVALID_PARAMETER_VALUE)
        (length,) = struct.unpack_from(">2xH", items, position)
        position += _ITEM_HEADER_BYTES + length
    if position != len(items):
        raise PduError(AbortReason.INVALID_PARAMETER_VALUE)


def _title(field: bytes) -> str:
    """An AE title; some senders pad it with NUL instead of spaces."""
    return _NOT_OF_A_TITLE.sub("\\\\", field.strip(b" \0").decode("latin-1"))

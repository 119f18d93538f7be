"""The PDUs of the DICOM Upper Layer, as far as they are looked at before pynetdicom sees them (PS3.8 9.3)."""

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


# What every caller gets that is not listed, whatever was wrong: permanent, by the service user, no reason given.
REFUSED: Final = Rejection((0x01, 0x01, 0x01))
VERSION_NOT_SUPPORTED: Final = Rejection((0x01, 0x02, 0x02))
# Transient, by the presentation service provider: the caller may try again.
CONGESTION: Final = Rejection((0x02, 0x03, 0x01))
LOCAL_LIMIT: Final = Rejection((0x02, 0x03, 0x02))


class PduError(Exception):
    """The peer sent what the protocol does not allow, and is answered with an A-ABORT."""

    def __init__(self, reason: AbortReason) -> None:
        super().__init__(reason.name)
        self.reason = reason


def parse_header(data: bytes | bytearray) -> tuple[PduType, int]:
    """Type and length of a PDU, from its first six bytes.

    Raises:
        PduError: no such type.
    """
    kind, length = struct.unpack_from(">BxI", data)
    if kind not in _TYPES:
        raise PduError(AbortReason.UNRECOGNISED_PDU)
    return PduType(kind), length


def reject(rejection: Rejection) -> bytes:
    """An A-ASSOCIATE-RJ."""
    return struct.pack(">BxIxBBB", PduType.ASSOCIATE_RJ, 4, *rejection)


def abort(reason: AbortReason) -> bytes:
    """An A-ABORT by the service provider."""
    return struct.pack(">BxIxxBB", PduType.ABORT, 4, 0x02, reason)


@dataclass(frozen=True)
class AssociateRequest:
    """An A-ASSOCIATE-RQ.

    Attributes:
        called, calling: the AE titles without the padding around them. A backslash, which no AE title has, stands for
            each character that may not be in one.
        has_version_1: whether the peer speaks version 1 of the protocol, among others.
        pdu: the whole PDU with titles and version written in the one usual form.
    """

    called: str
    calling: str
    has_version_1: bool
    pdu: bytes


def parse_request(pdu: bytes) -> AssociateRequest:
    """Read a whole A-ASSOCIATE-RQ: its titles, its version and whether its items fill it.

    Raises:
        PduError: it is cut short or its items do not add up.
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
        PduError: its presentation data values do not add up.
    """
    position, found = start + HEADER_BYTES, False
    while position < end:
        if position + _ITEM_HEADER_BYTES + _PDV_HEADER_BYTES > end:
            raise PduError(AbortReason.INVALID_PARAMETER_VALUE)
        (length,) = struct.unpack_from(">I", data, position)
        # A presentation context ID and a message control header come first.
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
    """An AE title; some senders pad it with NUL where PS3.8 says space."""
    return _NOT_OF_A_TITLE.sub("\\\\", field.strip(b" \0").decode("latin-1"))

"""Content negotiation of DICOMweb (PS3.18 8.7): the media types that a request accepts, and the best of what is had."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rest_framework.request import Request

from apps.core.errors import InvalidInputError, NotAcceptableError
from apps.registry import engine

DICOM: Final = "application/dicom"
DICOM_JSON: Final = "application/dicom+json"
JSON: Final = "application/json"
OCTET_STREAM: Final = "application/octet-stream"
ANY_SYNTAX: Final = "*"
_MULTIPART: Final = ("multipart/related", "multipart/*")
_LONGEST_ACCEPT: Final = 8192
_MOST_RANGES: Final = 100
# A list element or a parameter: everything up to a separator that is not inside of quotes (RFC 9110 5.6).
_ELEMENT = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*"?)+')
_PARAMETER = re.compile(r'(?:[^;"]|"(?:[^"\\]|\\.)*"?)+')
_QUALITY = re.compile(r"(0(\.[0-9]{0,3})?|1(\.0{0,3})?)")


@dataclass(frozen=True)
class MediaRange:
    """One element of an Accept header.

    Attributes:
        media_type: such as ``image/jp2``, ``image/*`` or ``*/*``; for multipart/related that of its parts.
        is_multipart: whether a multipart answer is accepted. None for ``*/*``, which accepts both.
        transfer_syntax: a UID, ``*``, or empty where none is stated.
    """

    media_type: str
    is_multipart: bool | None
    transfer_syntax: str
    quality: float

    @property
    def is_wildcard(self) -> bool:
        return self.media_type.endswith("/*")

    def specificity(self) -> tuple[bool, bool, bool]:
        return self.media_type != "*/*", not self.is_wildcard, bool(self.transfer_syntax)


@dataclass(frozen=True)
class Offer:
    """A representation that can be had.

    Attributes:
        transfer_syntax: its UID; empty for a type without one, such as JSON.
        is_default: what a range of its very type without a transfer syntax means.
    """

    media_type: str
    is_multipart: bool
    transfer_syntax: str = ""
    is_default: bool = True

    def __str__(self) -> str:
        syntax = f"; transfer-syntax={self.transfer_syntax}" if self.transfer_syntax else ""
        if self.is_multipart:
            return f'multipart/related; type="{self.media_type}"{syntax}'
        return f"{self.media_type}{syntax}"


def accepted_ranges(request: Request) -> list[MediaRange]:
    """The media types that a request accepts: by its ``accept`` parameter (PS3.18 8.3.3.1), else by its header.

    A request without either accepts everything, as RFC 9110 12.5.1 has it.

    Raises:
        InvalidInputError: the list is too long.
    """
    text = request.query_params.get("accept") or request.headers.get("Accept") or "*/*"
    if len(text) > _LONGEST_ACCEPT:
        raise InvalidInputError("The list of accepted media types is too long.", "accept-too-long")
    elements = _ELEMENT.findall(text)[:_MOST_RANGES]
    return [found for element in elements if (found := _media_range(element)) is not None]


def _media_range(element: str) -> MediaRange | None:
    media_type, *parameters = (part.strip() for part in _PARAMETER.findall(element) or [""])
    values = {}
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        values[name.strip().lower()] = _unquoted(value.strip())
    quality = values.get("q", "1")
    if not _QUALITY.fullmatch(quality):
        return None
    media_type = media_type.lower()
    is_multipart = True if media_type in _MULTIPART else None if media_type == "*/*" else False
    if is_multipart:
        media_type = values.get("type", "*/*").lower()
    return MediaRange(media_type, is_multipart, values.get("transfer-syntax", ""), float(quality))


def _unquoted(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if len(value) >= 2 and value[0] == value[-1] == '"' else value


def ranges_of(ranges: Sequence[MediaRange], offer: Offer) -> list[int]:
    """The positions of the ranges that accept an offer, whatever their weight."""
    return [number for number, each in enumerate(ranges) if _accepts(each, offer)]


def _accepts(accepted: MediaRange, offer: Offer) -> bool:
    if accepted.is_multipart not in (None, offer.is_multipart):
        return False
    main = offer.media_type.partition("/")[0]
    if accepted.media_type not in (offer.media_type, "*/*", f"{main}/*"):
        return False
    if accepted.transfer_syntax:
        return accepted.transfer_syntax in (ANY_SYNTAX, offer.transfer_syntax)
    return accepted.is_wildcard or offer.is_default


def choose(ranges: Sequence[MediaRange], offers: Sequence[Offer]) -> Offer | None:
    """The best offer: by weight, then by the order of the ranges, then by the order of the offers. None fits: None.

    The weight of an offer is that of the most specific range that accepts it (RFC 9110 12.5.1); 0 excludes it.
    """
    best: tuple[float, int, int] | None = None
    chosen = None
    for place, offer in enumerate(offers):
        accepting = ranges_of(ranges, offer)
        if not accepting:
            continue
        number = max(accepting, key=lambda each: (ranges[each].specificity(), -each))
        rank = (ranges[number].quality, -number, -place)
        if ranges[number].quality > 0 and (best is None or rank > best):
            best, chosen = rank, offer
    return chosen


def require(ranges: Sequence[MediaRange], offers: Sequence[Offer]) -> Offer:
    """As `choose`.

    Raises:
        NotAcceptableError: nothing that can be had is accepted; the error says what can.
    """
    chosen = choose(ranges, offers)
    if chosen is None:
        raise not_acceptable(offers)
    return chosen


def not_acceptable(offers: Sequence[Offer]) -> NotAcceptableError:
    if not offers:
        return NotAcceptableError("This object has no such representation: retrieve it as application/dicom.")
    names = "; or ".join(dict.fromkeys(str(offer) for offer in offers))
    return NotAcceptableError(f"Nothing of what the request accepts can be had. Accept {names}.")


def media_type_of_frames(transfer_syntax_uid: str) -> str:
    """The media type of a frame that is encoded like this (PS3.18 table 8.7.3-5)."""
    if transfer_syntax_uid in engine.JPEG:
        return "image/jpeg"
    if transfer_syntax_uid in engine.JPEG_LS:
        return "image/jls"
    if transfer_syntax_uid in engine.JPEG_2000:
        return "image/jphc" if transfer_syntax_uid.startswith("1.2.840.10008.1.2.4.20") else "image/jp2"
    return "image/dicom-rle" if transfer_syntax_uid == engine.RLE else OCTET_STREAM

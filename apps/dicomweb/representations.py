"""Which representations of an instance and of its frames can be had, and the one that a request gets.

Without a transfer syntax in ``Accept``, ``application/dicom`` and ``application/octet-stream`` mean Explicit VR Little
Endian (PS3.18 8.7.3.5.2); ``transfer-syntax=*`` and wildcards mean what is stored, unchanged. An instance that cannot
be converted is sent as it is stored where no transfer syntax was asked for: each part states its own.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from apps.core.errors import InvalidInputError, NotFoundError
from apps.dicomweb.media_types import (
    DICOM,
    OCTET_STREAM,
    MediaRange,
    Offer,
    choose,
    media_type_of_frames,
    not_acceptable,
    require,
)
from apps.inference.objects import explicit_le
from apps.registry import engine
from apps.studies.models import Instance
from apps.studies.storage import local_path

_EXPLICIT_LE: Final = engine.EXPLICIT_LE
# The words of an uncompressed frame are the same in both.
_PLAIN: Final = ("1.2.840.10008.1.2", _EXPLICIT_LE)


@dataclass(frozen=True)
class Opened:
    """A file with a representation.

    Attributes:
        content_type: media type and transfer syntax of this part.
        etag: strong; the same bytes have the same one.
    """

    path: Path
    content_type: str
    etag: str


def dicom_offers(instance: Instance, *, is_multipart: bool) -> list[Offer]:
    """The representations of an instance as a DICOM file: what is stored, then what it can be converted to."""
    is_plain = instance.transfer_syntax_uid == _EXPLICIT_LE
    stored = Offer(DICOM, is_multipart, instance.transfer_syntax_uid, is_default=is_plain)
    return [stored] if is_plain else [stored, Offer(DICOM, is_multipart, _EXPLICIT_LE)]


@contextmanager
def opened_instance(instance: Instance, ranges: Sequence[MediaRange], *, is_multipart: bool) -> Iterator[Opened]:
    """The instance in the best representation that is accepted.

    Raises:
        NotAcceptableError: none is.
        ObjectLostError, OutOfSpaceError, UnavailableError
    """
    offers = dicom_offers(instance, is_multipart=is_multipart)
    chosen = require(ranges, offers)
    with ExitStack() as files:
        if chosen.transfer_syntax == instance.transfer_syntax_uid:
            path = files.enter_context(local_path(instance.object_key))
        else:
            try:
                path = files.enter_context(explicit_le(instance))
            except InvalidInputError:
                chosen = require(ranges, [replace(offers[0], is_default=True)])
                path = files.enter_context(local_path(instance.object_key))
        syntax = chosen.transfer_syntax
        yield Opened(path, f"{DICOM}; transfer-syntax={syntax}", f'"{instance.sha256}-{syntax}"')


def frame_offers(instance: Instance, *, is_multipart: bool) -> list[Offer]:
    """The representations of the frames of an image; none of an object without frames."""
    if not instance.is_image:
        return []
    stored, plain = instance.transfer_syntax_uid, Offer(OCTET_STREAM, is_multipart, _EXPLICIT_LE)
    if stored in engine.NATIVE:
        return [plain]
    return [
        Offer(media_type_of_frames(stored), is_multipart, stored),
        Offer(OCTET_STREAM, is_multipart, stored, is_default=False),
        plain,
    ]


@dataclass(frozen=True)
class OpenedFrames:
    """A file that holds frames.

    Attributes:
        frames: for each frame its places in the file, as (start, length).
    """

    path: Path
    frames: Sequence[Sequence[tuple[int, int]]]
    content_type: str
    etag: str


@contextmanager
def opened_frames(instance: Instance, chosen: Offer) -> Iterator[OpenedFrames]:
    """The frames of an image in one of its `frame_offers`.

    Raises:
        NotAcceptableError: the image cannot be decoded; the error names what can be had.
        ObjectLostError, OutOfSpaceError, UnavailableError
    """
    stored = instance.transfer_syntax_uid
    as_stored = chosen.transfer_syntax == stored or (stored in _PLAIN and chosen.transfer_syntax == _EXPLICIT_LE)
    with ExitStack() as files:
        try:
            path = files.enter_context(local_path(instance.object_key) if as_stored else explicit_le(instance))
            table = engine.locate_frames(path)
        except (InvalidInputError, engine.InputRejected):
            others = frame_offers(instance, is_multipart=chosen.is_multipart)
            raise not_acceptable([other for other in others if other.transfer_syntax == stored]) from None
        content_type = f"{chosen.media_type}; transfer-syntax={chosen.transfer_syntax}"
        yield OpenedFrames(path, table.frames, content_type, f"{instance.sha256}-{chosen.transfer_syntax}")


def choose_frames(instance: Instance, ranges: Sequence[MediaRange], *, may_be_single: bool) -> Offer:
    """The representation of frames that a request gets.

    Args:
        may_be_single: whether the frames may be sent without multipart/related.

    Raises:
        NotFoundError: the object has no frames.
        NotAcceptableError: no representation is accepted.
    """
    if not instance.is_image:
        raise NotFoundError("This object is no image: it has no frames.", "frame-not-found")
    offers = frame_offers(instance, is_multipart=True)
    if may_be_single:
        offers += frame_offers(instance, is_multipart=False)
    chosen = choose(ranges, offers)
    if chosen is None:
        raise not_acceptable(offers)
    return chosen

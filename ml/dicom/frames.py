"""Find the frames of a DICOM file by their places, so that they can be sent without being decoded."""

from dataclasses import dataclass
from pathlib import Path

from ml.dicom.codec_headers import split_frames
from ml.dicom.image_layout import native_frame_bytes, read_layout
from ml.dicom.parser import PIXEL_DATA, parse
from ml.dicom.source import open_source
from ml.dicom.transfer_syntaxes import DEFLATED_LE, EXPLICIT_BE
from ml.errors import InputRejected

Ranges = tuple[tuple[int, int], ...]
"""Places in a file: each is (first byte, number of bytes)."""


@dataclass(frozen=True, slots=True)
class FrameTable:
    """The places of an image's frames, in their order.

    Attributes:
        transfer_syntax_uid: how they are encoded.
        frames: the places that together are one frame.
    """

    transfer_syntax_uid: str
    frames: tuple[Ranges, ...]


def locate_frames(path: Path) -> FrameTable:
    """Locate the frames of a file that the preflight accepted; no pixel is decoded.

    Raises:
        InputRejected: the object has no frames, or they have no place in the file: a deflated data set
            (PS3.5 annex A.5), or Big Endian words, have to be converted first (`ml.dicom.explicit_le`).
    """
    buffer, kind = open_source(path)
    if kind != "dicom":
        raise InputRejected("format-not-recognised", "Only a DICOM object has frames.")
    index = parse(buffer)
    if index.transfer_syntax_uid in (DEFLATED_LE, EXPLICIT_BE):
        raise InputRejected("transfer-syntax-not-supported", "Frames of this transfer syntax have to be converted.")
    layout = read_layout(index)
    if index.encapsulated:
        frames = tuple(tuple(fragments) for fragments in split_frames(index, layout.frames))
        return FrameTable(index.transfer_syntax_uid, frames)
    start, length = index.elements[PIXEL_DATA].start, native_frame_bytes(layout)
    frames = tuple(((start + number * length, length),) for number in range(layout.frames))
    return FrameTable(index.transfer_syntax_uid, frames)

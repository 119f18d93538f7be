"""Encode frames in the codecs that radiology departments send (transfer syntaxes of PS3.5 annex A)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import uid

Frame = NDArray[np.unsignedinteger[Any]]


@dataclass(frozen=True)
class Codec:
    """An encoder; `depths` are the values of Bits Stored that its codestream can have, the default first."""

    encode: Callable[[Frame, int], bytes]
    depths: tuple[int, ...]
    lossy_method: str | None = None


def _rle(frame: Frame, bits: int) -> bytes:
    """Encode RLE (PS3.5 annex G): byte planes, most significant first, each row packed separately."""
    planes = [frame.astype(np.uint8)] if bits <= 8 else [(frame >> 8).astype(np.uint8), (frame & 255).astype(np.uint8)]
    segments = []
    for plane in planes:
        packed = bytes(imagecodecs.packbits_encode(plane, axis=-1))
        segments.append(packed + b"\0" * (len(packed) % 2))
    header = np.zeros(16, "<u4")
    header[0] = len(segments)
    header[1 : len(segments) + 1] = 64 + np.cumsum([0] + [len(s) for s in segments[:-1]])
    return header.tobytes() + b"".join(segments)


def _jpeg_lossy(frame: Frame, bits: int) -> bytes:
    return bytes(imagecodecs.jpeg_encode(frame, level=92, bitspersample=bits))


def _jpeg_lossless(frame: Frame, bits: int) -> bytes:
    return bytes(imagecodecs.jpeg_encode(frame, lossless=True, predictor=1, bitspersample=bits))


def _jpeg_lossless_any_predictor(frame: Frame, bits: int) -> bytes:
    return bytes(imagecodecs.ljpeg_encode(frame, bitspersample=bits))


def _jpeg_ls(frame: Frame, bits: int) -> bytes:
    return bytes(imagecodecs.jpegls_encode(frame))


def _jpeg2000(frame: Frame, bits: int) -> bytes:
    return bytes(imagecodecs.jpeg2k_encode(frame, level=0, codecformat="J2K", reversible=True, bitspersample=bits))


def _jpeg2000_lossy(frame: Frame, bits: int) -> bytes:
    return bytes(imagecodecs.jpeg2k_encode(frame, level=60, codecformat="J2K", reversible=False, bitspersample=bits))


def _htj2k(frame: Frame, bits: int) -> bytes:
    return bytes(imagecodecs.htj2k_encode(frame, reversible=True))


CODECS: dict[str, Codec] = {
    uid.RLELossless: Codec(_rle, (12, 8, 10, 14, 16)),
    uid.JPEGBaseline8Bit: Codec(_jpeg_lossy, (8,), "ISO_10918_1"),
    uid.JPEGExtended12Bit: Codec(_jpeg_lossy, (12,), "ISO_10918_1"),
    uid.JPEGLossless: Codec(_jpeg_lossless_any_predictor, (12, 10, 14, 16)),
    uid.JPEGLosslessSV1: Codec(_jpeg_lossless, (12, 8, 10, 14, 16)),
    uid.JPEGLSLossless: Codec(_jpeg_ls, (16, 8)),
    uid.JPEG2000Lossless: Codec(_jpeg2000, (12, 8, 10, 14, 16)),
    uid.JPEG2000: Codec(_jpeg2000_lossy, (12, 8, 10, 14, 16), "ISO_15444_1"),
    uid.HTJ2KLossless: Codec(_htj2k, (16, 8)),
}
NATIVE_DEPTHS = (12, 8, 10, 14, 16)
NATIVE = (
    uid.ExplicitVRLittleEndian,
    uid.ImplicitVRLittleEndian,
    uid.DeflatedExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
)
TRANSFER_SYNTAXES: tuple[str, ...] = (*NATIVE, *CODECS)


def depth_for(transfer_syntax: str, bits: int | None) -> int:
    """The Bits Stored to write. Raises ValueError where the codec cannot store `bits`."""
    if transfer_syntax not in TRANSFER_SYNTAXES:
        raise ValueError(f"cannot write transfer syntax {transfer_syntax}: choose from {', '.join(TRANSFER_SYNTAXES)}")
    depths = CODECS[transfer_syntax].depths if transfer_syntax in CODECS else NATIVE_DEPTHS
    if bits is None:
        return depths[0]
    if bits not in depths:
        raise ValueError(f"{uid.UID(transfer_syntax).name} is written with {sorted(depths)} bits, not {bits}")
    return bits

"""A digest of the stored pixel values that does not depend on the transfer syntax."""

import hashlib

import numpy as np

from ml.dicom.codecs import stored_frames
from ml.dicom.image_layout import read_layout
from ml.dicom.parser import parse
from ml.dicom.source import Source, open_source
from ml.dicom.transfer_syntaxes import RLE
from ml.errors import InputRejected

_STRIP_VALUES = 1 << 20


def pixel_digest(source: Source) -> str:
    """SHA-256 (64 hexadecimal digits) of the stored pixel values of all frames of a DICOM object.

    Two objects with the same values have the same digest in every lossless transfer syntax: byte order, planar order
    and bits outside Bits Stored (PS3.5 section 8.1.1) do not count. No step of the display pipeline is applied. Rows,
    Columns, Samples per Pixel, Number of Frames, Bits Stored and Pixel Representation count; Photometric Interpretation
    does not, because the lossless codecs of colour change it (PS3.5 section 8.2.4). Run it in a sandbox: it decodes.

    Raises:
        InputRejected: the object can't be decoded, or is no DICOM.
    """
    buffer, kind = open_source(source)
    if kind != "dicom":
        raise InputRejected("format-not-recognised", "Only a DICOM object has stored pixel values.")
    index = parse(buffer)
    layout = read_layout(index)
    shape = (layout.rows, layout.columns, layout.samples, layout.frames, layout.bits_stored, int(layout.signed))
    digest = hashlib.sha256(np.array(shape, "<u4").tobytes())
    # The values of a decompressed frame are in the lowest bits already.
    is_shifted = not index.encapsulated or index.transfer_syntax_uid == RLE
    shift = layout.high_bit + 1 - layout.bits_stored if is_shifted else 0
    mask = (1 << layout.bits_stored) - 1
    for frame in stored_frames(index, layout):
        rows = max(1, _STRIP_VALUES // (frame.size // layout.rows))
        for row in range(0, layout.rows, rows):
            values = (frame[row : row + rows] >> shift) & mask
            digest.update(values.astype("<u2").tobytes())
    return digest.hexdigest()

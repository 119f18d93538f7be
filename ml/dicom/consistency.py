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

_SOP_CLASS_UID = 0x00080016
_MODALITY = 0x00080060
_PIXEL_INTENSITY_RELATIONSHIP_SIGN = 0x00281041
_RESCALE_SLOPE = 0x00281053
_PRESENTATION_LUT_SHAPE = 0x20500020
_LUT_SHAPES = {"MONOCHROME1": "INVERSE", "MONOCHROME2": "IDENTITY"}
# Pixel Intensity Relationship Sign (0028,1041). Bone absorbs X-rays and is shown bright. Bright pixels have larger
# values in MONOCHROME2 and smaller values in MONOCHROME1.
_INTENSITY_SIGNS = {"MONOCHROME1": 1, "MONOCHROME2": -1}
_MODALITIES = {
    "1.2.840.10008.5.1.4.1.1.1": "CR",
    "1.2.840.10008.5.1.4.1.1.1.1": "DX",
    "1.2.840.10008.5.1.4.1.1.1.1.1": "DX",
}
_MIN_BRIGHTNESS_DIFFERENCE = 0.05
_THUMBNAIL = 64


def note_contradictions(index: DicomIndex, layout: ImageLayout, raw: NDArray[Any]) -> None:
    """Add a warning to `index` for each contradiction; `raw` (rows, columns, ...) is the decoded first frame."""
    shape = index.text(_PRESENTATION_LUT_SHAPE).upper()
    if shape and layout.photometric in _LUT_SHAPES and shape != _LUT_SHAPES[layout.photometric]:
        index.warn("polarity-contradiction")
    if _contradicts_intensity_sign(index, layout):
        index.warn("intensity-sign-contradiction")
    modality = _MODALITIES.get(index.text(_SOP_CLASS_UID))
    if modality and index.text(_MODALITY).upper() not in ("", modality):
        index.warn("modality-contradicts-sop-class")
    if _exceeds_bits_stored(index, layout, raw):
        index.warn("bits-stored-exceeded")


def _contradicts_intensity_sign(index: DicomIndex, layout: ImageLayout) -> bool:
    if MODALITY_LUT_SEQUENCE in index.items or VOI_LUT_SEQUENCE in index.items:
        # A lookup table may invert the grey scale.
        return False
    value = index.value(_PIXEL_INTENSITY_RELATIONSHIP_SIGN)
    sign = int.from_bytes(value, "big" if index.big_endian else "little", signed=True) if len(value) == 2 else 0
    if index.text(_RESCALE_SLOPE).startswith("-"):
        sign = -sign
    expected = _INTENSITY_SIGNS.get(layout.photometric)
    return sign in (1, -1) and expected is not None and sign != expected


def _exceeds_bits_stored(index: DicomIndex, layout: ImageLayout, raw: NDArray[Any]) -> bool:
    # Bits above Bits Stored may repeat the sign of a signed value. Where High Bit is not Bits Stored - 1, they may hold
    # an overlay (retired).
    if layout.signed or layout.high_bit != layout.bits_stored - 1 or layout.bits_stored == layout.bits_allocated:
        return False
    if index.encapsulated and index.transfer_syntax_uid != RLE:
        return False
    # Overlay Bit Position (60xx,0102, retired) says that an overlay lies in the pixels' unused bits.
    if any(tag >> 24 == 0x60 and tag & 0xFFFF == 0x0102 for tag in index.elements):
        return False
    return bool(raw.max() >> layout.bits_stored)


def looks_inverted(image: NDArray[np.uint8]) -> bool:
    """Whether an upright frontal chest image (rows, columns) looks inverted: lungs and background brighter than spine.

    True for none of 1,348 public chest images, and for 98 % of their inverted copies.
    """
    small = np.asarray(Image.fromarray(image).resize((_THUMBNAIL, _THUMBNAIL), Image.Resampling.BOX)) / 255.0
    # Rows and columns of the thumbnail.
    spine = np.median(small[26:56, 28:36])
    lungs = (np.median(small[16:36, 12:24]) + np.median(small[16:36, 40:52])) / 2
    edges = (small[:8, :8], small[:8, -8:], small[20:40, :3], small[20:40, -3:])
    return bool(
        spine - lungs < -_MIN_BRIGHTNESS_DIFFERENCE
        and spine - np.median([edge.mean() for edge in edges]) < -_MIN_BRIGHTNESS_DIFFERENCE
    )

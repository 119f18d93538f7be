"""The grayscale display pipeline (PS3.4 annex N.2): stored values to 8-bit grey, as one lookup table.

The steps are Modality LUT or rescale, VOI LUT or window, and inversion of MONOCHROME1. A stored value has at most
16 bits, so the steps are computed once for each possible value, and each pixel needs only a lookup.
"""

import re
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ml.dicom.image_layout import ImageLayout
from ml.dicom.parser import MODALITY_LUT_SEQUENCE, VOI_LUT_SEQUENCE, DicomIndex, Element
from ml.dicom.transfer_syntaxes import RLE
from ml.errors import InputRejected

PERCENTILES = (0.5, 99.5)
_SAMPLE_PIXELS = 1 << 16
_STRIP_PIXELS = 1 << 16

Voi = Literal["voi-lut", "window", "percentiles", "full-range"]
Floats = NDArray[np.float64]

_NUMBER = re.compile(r"\s*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\s*")
_FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")


@dataclass(frozen=True, slots=True)
class DisplayTable:
    """`table` maps each raw value up to the largest to 0..255. `window` is (centre, width) in modality units."""

    table: NDArray[np.uint8]
    voi: Voi
    window: tuple[float, float] | None


def display_table(
    index: DicomIndex,
    layout: ImageLayout,
    raw: NDArray[Any],
    hidden: NDArray[np.bool_] | None = None,
    window: tuple[float, float, str] | None = None,
) -> DisplayTable:
    """Compute the lookup table of one grey frame.

    A VOI LUT is used before a window (PS3.3 C.11.2 allows either; pydicom does the same). Where the image has neither:
    an image of at most 8 bits without rescale is shown over its full range, any other is stretched between its 0.5th
    and 99.5th percentile. A window that would remove all contrast of an image is ignored, with a warning. Pixel padding
    (PS3.3 C.7.5.1.1.2) becomes black.

    Args:
        index: the parsed object; gets the warnings.
        layout: of the pixels.
        raw: unsigned (rows, columns), from `ml.dicom.codecs.decode_frame`.
        hidden: (rows, columns), True outside a display shutter. Neither these pixels nor padding count in statistics.
        window: centre and width in modality units and VOI LUT Function, used instead of the transforms in the file.

    Raises:
        InputRejected: "modality-lut-invalid".
    """
    stored = _stored_values(index, layout, raw)
    modality, plain = _modality(index, layout, stored)
    padding = _padding(index, layout, stored)
    sample = _sample(raw, padding, hidden)
    inverted = layout.photometric == "MONOCHROME1"
    if window is not None:
        return DisplayTable(_to_bytes(_window(modality, *window), inverted, padding), "window", window[:2])
    for voi, found, scaled in _voi_candidates(index, layout, modality):
        seen = scaled[sample]
        if seen.size and np.ptp(seen) < 1 / 255 and np.ptp(modality[sample]) > 0:
            index.warn("window-without-contrast")
            continue
        return DisplayTable(_to_bytes(scaled, inverted, padding), voi, found)
    if plain and layout.bits_stored <= 8 and not layout.signed:
        scaled = modality / ((1 << layout.bits_stored) - 1)
        return DisplayTable(_to_bytes(scaled, inverted, padding), "full-range", None)
    values = modality[sample]
    low, high = np.percentile(values, PERCENTILES) if values.size else (0.0, 0.0)
    if high <= low:
        low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    scaled = (modality - low) / (high - low) if high > low else np.zeros_like(modality)
    return DisplayTable(_to_bytes(scaled, inverted, padding), "percentiles", (float(low + high) / 2, float(high - low)))


def palette_table(index: DicomIndex, layout: ImageLayout, raw: NDArray[Any]) -> NDArray[np.uint8]:
    """Lookup table from the raw values of a PALETTE COLOR frame to luminance (ITU-R BT.601; PS3.3 C.7.9).

    Raises:
        InputRejected: the palette is not usable.
    """
    stored = _stored_values(index, layout, raw)
    channels = []
    for number in (1, 2, 3):
        lut = _lut(index, index.elements, 0x00281100 + number, 0x00281200 + number, signed=layout.signed)
        if lut is None:
            raise InputRejected("pixel-format-not-supported", "The colour palette is unusable. Export as MONOCHROME2.")
        data, first, bits = lut
        channels.append(data[np.clip(stored - first, 0, data.size - 1)] / ((1 << bits) - 1))
    grey = 0.299 * channels[0] + 0.587 * channels[1] + 0.114 * channels[2]
    return _to_bytes(grey, False, np.zeros(0, np.bool_))


def apply_table(table: NDArray[np.uint8], raw: NDArray[Any]) -> NDArray[np.uint8]:
    """`table[raw]` as uint8 (rows, columns). Works in strips, because NumPy converts indices to 8 bytes each."""
    out = np.empty(raw.shape, np.uint8)
    step = max(1, _STRIP_PIXELS // raw.shape[1])
    for row in range(0, raw.shape[0], step):
        np.take(table, raw[row : row + step], out=out[row : row + step], mode="clip")
    return out


def _stored_values(index: DicomIndex, layout: ImageLayout, frame: NDArray[Any]) -> NDArray[np.int32]:
    """The pixel value of each raw value up to the largest: Bits Stored bits below High Bit (PS3.5 section 8.1.1)."""
    raw = np.arange(int(frame.max()) + 1, dtype=np.int32)
    if not index.encapsulated or index.transfer_syntax_uid == RLE:
        raw >>= layout.high_bit + 1 - layout.bits_stored
    raw &= (1 << layout.bits_stored) - 1
    if layout.signed:
        sign = 1 << (layout.bits_stored - 1)
        raw = (raw ^ sign) - sign
    return raw


def _modality(index: DicomIndex, layout: ImageLayout, stored: NDArray[np.int32]) -> tuple[Floats, bool]:
    """Modality values (PS3.3 C.11.1), and whether they equal the stored values."""
    if MODALITY_LUT_SEQUENCE in index.items:
        lut = _lut(index, index.items[MODALITY_LUT_SEQUENCE], 0x00283002, 0x00283006, signed=layout.signed)
        if lut is None:
            raise InputRejected("modality-lut-invalid", "The Modality LUT is damaged. Export the image again.")
        data, first, _ = lut
        return data[np.clip(stored - first, 0, data.size - 1)].astype(np.float64), False
    if 0x00281052 not in index.elements and 0x00281053 not in index.elements:
        return stored.astype(np.float64), True
    intercepts, slopes = _numbers(index, 0x00281052, "0"), _numbers(index, 0x00281053, "1")
    if not intercepts or not slopes or abs(slopes[0]) > 1e12 or abs(intercepts[0]) > 1e12 or abs(slopes[0]) < 1e-12:
        raise InputRejected("modality-lut-invalid", "Rescale Slope or Intercept is unusable. Export the image again.")
    slope, intercept = slopes[0], intercepts[0]
    return stored.astype(np.float64) * slope + intercept, slope == 1 and intercept == 0


def _padding(index: DicomIndex, layout: ImageLayout, stored: NDArray[np.int32]) -> NDArray[np.bool_]:
    """A mask of the raw values that are padding; empty where there is none."""
    values = []
    for tag in (0x00280120, 0x00280121):
        raw = index.value(tag)
        if len(raw) == 2:
            order: Literal["big", "little"] = "big" if index.big_endian else "little"
            values.append(int.from_bytes(raw, order, signed=layout.signed))
    if not values or 0x00280120 not in index.elements:
        return np.zeros(0, np.bool_)
    return (stored >= min(values)) & (stored <= max(values))


def _sample(raw: NDArray[Any], padding: NDArray[np.bool_], hidden: NDArray[np.bool_] | None) -> NDArray[np.intp]:
    """Raw values on a regular grid of about 65,000 pixels, without padding and what is hidden."""
    step = max(1, int((raw.size / _SAMPLE_PIXELS) ** 0.5))
    sample = raw[::step, ::step].astype(np.intp)
    sample = sample.ravel() if hidden is None else sample[~hidden[::step, ::step]]
    return sample[~padding[sample]] if padding.size else sample


def _voi_candidates(
    index: DicomIndex, layout: ImageLayout, modality: Floats
) -> list[tuple[Voi, tuple[float, float] | None, Floats]]:
    """The VOI transforms in the file, in order of preference, with the values scaled to [0, 1]."""
    found: list[tuple[Voi, tuple[float, float] | None, Floats]] = []
    if VOI_LUT_SEQUENCE in index.items:
        signed = layout.signed or bool(modality.min() < 0)
        lut = _lut(index, index.items[VOI_LUT_SEQUENCE], 0x00283002, 0x00283006, signed=signed)
        if lut is None:
            index.warn("voi-lut-invalid")
        else:
            data, first, bits = lut
            position = np.clip(np.floor(modality) - first, 0, data.size - 1).astype(np.intp)
            found.append(("voi-lut", None, data[position] / ((1 << bits) - 1)))
    function = index.text(0x00281056).upper() or "LINEAR"
    if function not in _FUNCTIONS:
        index.warn("voi-function-unknown")
        function = "LINEAR"
    centres, widths = _numbers(index, 0x00281050, ""), _numbers(index, 0x00281051, "")
    usable = [(c, w) for c, w in zip(centres, widths, strict=False) if (w >= 1 if function == "LINEAR" else w > 1e-9)]
    if usable:
        found.append(("window", usable[0], _window(modality, *usable[0], function)))
    elif 0x00281050 in index.elements or 0x00281051 in index.elements:
        index.warn("window-invalid")
    return found


def _window(values: Floats, centre: float, width: float, function: str) -> Floats:
    """PS3.3 C.11.2.1.2.1 (LINEAR), C.11.2.1.3.2 (LINEAR_EXACT), C.11.2.1.3.1 (SIGMOID), output [0, 1]."""
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -60, 60)))
    if function == "LINEAR_EXACT":
        return np.clip((values - centre) / width + 0.5, 0, 1)
    if width == 1:
        return (values > centre - 0.5).astype(np.float64)
    return np.clip((values - (centre - 0.5)) / (width - 1) + 0.5, 0, 1)


def _numbers(index: DicomIndex, tag: int, default: str) -> list[float]:
    """The numbers of a DS value; others are left out."""
    text = index.text(tag) or default
    numbers = [float(part) for part in text.split("\\")[:64] if len(part) <= 64 and _NUMBER.fullmatch(part)]
    return [number for number in numbers if abs(number) < 1e18]


def _lut(
    index: DicomIndex, elements: dict[int, Element], descriptor_tag: int, data_tag: int, *, signed: bool
) -> tuple[NDArray[np.uint16], int, int] | None:
    """LUT data, first mapped value and bits (PS3.3 C.11.1.1); None where they contradict each other."""
    descriptor, data = index.value(descriptor_tag, elements), index.value(data_tag, elements)
    if len(descriptor) != 6:
        return None
    order = ">" if index.big_endian else "<"
    count, first, bits = (int(number) for number in np.frombuffer(descriptor, f"{order}u2"))
    count = count or 1 << 16
    first = first - (1 << 16) if signed and first >= 1 << 15 else first
    if not 1 <= bits <= 16:
        return None
    if len(data) >= 2 * count:
        return np.frombuffer(data, f"{order}u2", count).astype(np.uint16), first, bits
    if bits <= 8 and len(data) >= count:
        return np.frombuffer(data, "u1", count).astype(np.uint16), first, bits
    return None


def _to_bytes(scaled: Floats, inverted: bool, padding: NDArray[np.bool_]) -> NDArray[np.uint8]:
    table = np.rint(np.clip(1 - scaled if inverted else scaled, 0, 1) * 255).astype(np.uint8)
    if padding.size:
        table[padding] = 0
    return table

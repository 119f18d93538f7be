"""Decode a DICOM, PNG or JPEG file to the 8-bit image that is displayed and scored, for training and serving alike."""

import io
import struct
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from ml.dicom.display import apply_table, display_table, palette_table
from ml.dicom.image_layout import MAX_PIXELS, check_size
from ml.dicom.image_warnings import ImageWarning
from ml.dicom.orientation import read_orientation
from ml.dicom.pixel_aspect import pixel_ratio, with_square_pixels
from ml.dicom.shutter import read_shutter
from ml.dicom.source import Kind, Source, open_source
from ml.errors import InputRejected

Image.MAX_IMAGE_PIXELS = MAX_PIXELS

PNG_PERCENTILES = (0.5, 99.5)
_GEOMETRY = {
    "PatientOrientation": 0x00200020,
    "ViewPosition": 0x00185101,
    "PixelAspectRatio": 0x00280034,
    "PixelSpacing": 0x00280030,
    "ImagerPixelSpacing": 0x00181164,
    "NominalScannedPixelSpacing": 0x00182010,
}


@dataclass(frozen=True, slots=True)
class Radiograph:
    """A decoded image as it is displayed: upright, with square pixels and with the display shutter applied.

    Rows and columns differ from the stored ones where the image was turned or its pixels are not square.

    Attributes:
        pixels: uint8 (rows, columns), 0 is black, bone is bright.
        kind: format of the file.
        photometric, bits_stored: of the source.
        voi: what decided the grey scale: "voi-lut", "window", "percentiles" or "full-range".
        window: (centre, width) in modality units where one was used.
        chroma: mean of (max - min) over the colour channels, 0..1; 0 for a grey image.
        warnings: about the image.
    """

    pixels: NDArray[np.uint8]
    kind: Kind
    photometric: str
    bits_stored: int
    voi: str
    window: tuple[float, float] | None = None
    chroma: float = 0.0
    warnings: tuple[ImageWarning, ...] = ()

    @property
    def rows(self) -> int:
        return int(self.pixels.shape[0])

    @property
    def columns(self) -> int:
        return int(self.pixels.shape[1])


def read_radiograph(source: Source) -> Radiograph:
    """Decode the first frame of an image for display and scoring.

    The steps for DICOM are the grayscale pipeline (`ml.dicom.display`), the display shutter (`ml.dicom.shutter`), the
    pixel aspect ratio (`ml.dicom.pixel_aspect`) and the patient orientation (`ml.dicom.orientation`). Colour becomes
    BT.601 luminance. 8-bit PNG and JPEG are used unchanged, except for the EXIF rotation of a JPEG. 16-bit PNG is
    stretched between its 0.5th and 99.5th percentile. The SOP class is not checked here (`ml.dicom.preflight`).
    PNG and JPEG need only Pillow and NumPy.

    Raises:
        InputRejected: the file can't be decoded.
    """
    buffer, kind = open_source(source)
    if kind == "dicom":
        return _read_dicom(buffer)
    return _read_picture(bytes(buffer), kind)


def _read_dicom(buffer: Any) -> Radiograph:
    from ml.dicom.codecs import decode_frame
    from ml.dicom.consistency import note_contradictions
    from ml.dicom.image_layout import read_layout
    from ml.dicom.parser import parse

    index = parse(buffer)
    layout = read_layout(index)
    raw = decode_frame(index, layout)
    note_contradictions(index, layout, raw)
    texts = {keyword: index.text(tag) for keyword, tag in _GEOMETRY.items()}
    ratio, odd_aspect = pixel_ratio(texts)
    shutter = read_shutter(index, layout.rows, layout.columns, ratio)
    voi, window, chroma = "full-range", None, 0.0
    if layout.samples == 3:
        pixels, chroma = _luminance(_to_eight_bits(raw, layout.bits_stored))
    elif layout.photometric == "PALETTE COLOR":
        pixels = apply_table(palette_table(index, layout, raw), raw)
    else:
        display = display_table(index, layout, raw, shutter.hidden if shutter else None)
        voi, window = display.voi, display.window
        pixels = apply_table(display.table, raw)
    if shutter is not None:
        pixels = shutter.cover(pixels)
    turn, turned = read_orientation(texts["PatientOrientation"], texts["ViewPosition"])
    pixels = np.ascontiguousarray(turn.apply(with_square_pixels(pixels, ratio)))
    index.warnings += [warning for warning in (turned, odd_aspect) if warning is not None]
    warnings = tuple(dict.fromkeys(index.warnings))
    return Radiograph(pixels, "dicom", layout.photometric, layout.bits_stored, voi, window, chroma, warnings)


def _to_eight_bits(raw: NDArray[Any], bits_stored: int) -> NDArray[np.uint8]:
    if bits_stored == 8 and raw.dtype.itemsize == 1:
        return np.ascontiguousarray(raw)
    top = (1 << bits_stored) - 1
    return np.asarray((np.minimum(raw, top).astype(np.uint32) * 255 + top // 2) // top, np.uint8)


def _luminance(image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], float]:
    """BT.601 luminance of RGB (rows, columns, 3) and its chroma; a grey image (rows, columns) unchanged."""
    if image.ndim == 2:
        return image, 0.0
    step = max(1, min(image.shape[:2]) // 128)
    thumb = image[::step, ::step].astype(np.int16)
    chroma = float((thumb.max(axis=2) - thumb.min(axis=2)).mean() / 255)
    return np.asarray(Image.fromarray(image).convert("L")), chroma


def _read_picture(data: bytes, kind: Kind) -> Radiograph:
    try:
        with Image.open(io.BytesIO(data), formats=[kind.upper()]) as image:
            check_size(image.height, image.width)
            mode = image.mode
            if kind == "jpeg":
                image.load()
                return _picture(ImageOps.exif_transpose(image), mode, kind)
            return _picture(image, mode, kind)
    except (OSError, ValueError, SyntaxError, EOFError, struct.error, zlib.error, OverflowError) as error:
        raise InputRejected("decode-failed", f"The {kind.upper()} is damaged. Save the image again.") from error


def _picture(image: Image.Image, mode: str, kind: Kind) -> Radiograph:
    if mode.startswith("I"):
        values = np.asarray(image).astype(np.uint16)
        low, high = np.percentile(
            values[:: max(1, values.shape[0] // 512), :: max(1, values.shape[1] // 512)], PNG_PERCENTILES
        )
        ramp = (np.arange(1 << 16) - low) / max(float(high - low), 1.0)
        table = np.rint(np.clip(ramp, 0, 1) * 255).astype(np.uint8)
        window = (float(low + high) / 2, float(high - low))
        return Radiograph(apply_table(table, values), kind, "MONOCHROME2", 16, "percentiles", window)
    if mode in ("L", "1"):
        return Radiograph(np.asarray(image.convert("L")), kind, "MONOCHROME2", 8, "full-range")
    if mode == "LA":
        return Radiograph(np.asarray(image.getchannel("L")), kind, "MONOCHROME2", 8, "full-range")
    pixels, chroma = _luminance(np.asarray(image.convert("RGB")))
    return Radiograph(pixels, kind, "RGB", 8, "full-range", None, chroma)

"""Render one frame of a DICOM image for display, as DICOMweb's rendered resources need it (PS3.18 8.3.5)."""

from collections.abc import Sequence
from itertools import islice
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ml.dicom.codecs import stored_frames
from ml.dicom.display import apply_table, display_table, palette_table
from ml.dicom.image_layout import ImageLayout, read_layout
from ml.dicom.parser import parse
from ml.dicom.pixel_aspect import pixel_ratio, with_square_pixels
from ml.dicom.shutter import read_shutter
from ml.dicom.source import Source, open_source
from ml.dicom.transfer_syntaxes import JPEG, JPEG_2000
from ml.errors import InputRejected
from ml.sandbox.wire import contract

MAX_RENDERED_PIXELS: Final = 40_000_000
"""A larger picture is shrunk: three bytes for each pixel must fit one message of the sandbox."""
_ASPECT: Final = {"PixelAspectRatio": 0x00280034, "PixelSpacing": 0x00280030, "ImagerPixelSpacing": 0x00181164,
                  "NominalScannedPixelSpacing": 0x00182010}  # fmt: skip

Pixels = NDArray[np.uint8]


def _accept(reply: Any, *_: Any) -> Pixels:
    if not isinstance(reply, np.ndarray) or reply.dtype != np.uint8:
        raise ValueError("not a picture")
    if reply.ndim not in (2, 3) or reply.shape[2:] not in ((), (3,)) or not reply.size:
        raise ValueError("not a grey or colour picture")
    return reply


@contract(_accept, lambda *_: 3 * MAX_RENDERED_PIXELS)
def render_frame(
    source: Source, frame: int, window: Sequence[Any] | None = None, viewport: Sequence[float] | None = None
) -> Pixels:
    """Decode and render one frame with the geometry that is stored: it is not turned upright.

    The grey scale is that of `ml.dicom.display`; the display shutter is applied; pixels become square.

    Args:
        source: the file.
        frame: its number, from 1 on.
        window: centre and width in modality units, and LINEAR, LINEAR_EXACT or SIGMOID.
        viewport: width and height in pixels into which the picture is fitted, and optionally the left, upper, width
            and height of the region of it that is shown; a negative width or height flips it.

    Returns:
        uint8, (rows, columns) of a grey image or (rows, columns, 3) RGB.

    Raises:
        InputRejected: the file can't be decoded, or has no such frame.
    """
    buffer, kind = open_source(source)
    if kind != "dicom":
        raise InputRejected("format-not-recognised", "Only a DICOM object has frames.")
    index = parse(buffer)
    layout = read_layout(index)
    raw = next(islice(stored_frames(index, layout), frame - 1, None), None)
    if raw is None:
        raise InputRejected("pixel-data-missing", "The image has no such frame.")
    texts = {keyword: index.text(tag) for keyword, tag in _ASPECT.items()}
    ratio, _ = pixel_ratio(texts)
    shutter = read_shutter(index, layout.rows, layout.columns, ratio)
    if layout.samples == 3:
        pixels = _colour(raw, layout, index.transfer_syntax_uid)
    elif layout.photometric == "PALETTE COLOR":
        pixels = apply_table(palette_table(index, layout, raw), raw)
    else:
        chosen = None if window is None else (float(window[0]), float(window[1]), str(window[2]))
        table = display_table(index, layout, raw, shutter.hidden if shutter else None, chosen)
        pixels = apply_table(table.table, raw)
    if shutter is not None and pixels.ndim == 2:
        pixels = shutter.cover(pixels)
    return _fit(with_square_pixels(pixels, ratio), viewport)


def _colour(raw: NDArray[Any], layout: ImageLayout, transfer_syntax_uid: str) -> Pixels:
    if raw.ndim == 2:
        # YBR_FULL_422: of each four samples the first two are luminance.
        quads = raw.reshape(-1, 4)
        return np.ascontiguousarray(quads[:, :2], np.uint8).reshape(layout.rows, layout.columns)
    top = (1 << layout.bits_stored) - 1
    eight = raw if layout.bits_stored == 8 else np.minimum(raw, top).astype(np.uint32) * 255 // top
    pixels = np.ascontiguousarray(eight, np.uint8)
    is_decoded = transfer_syntax_uid in JPEG or transfer_syntax_uid in JPEG_2000
    if layout.photometric == "YBR_FULL" and not is_decoded:
        return np.asarray(Image.fromarray(pixels, "YCbCr").convert("RGB"))
    return pixels


def _fit(pixels: Pixels, viewport: Sequence[float] | None) -> Pixels:
    image = Image.fromarray(pixels)
    size = image.size
    if viewport is not None:
        width, height, *region = viewport
        if region:
            image = _region(image, *region)
        scale = min(width / image.width, height / image.height)
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    shrink = min(1.0, (MAX_RENDERED_PIXELS / (size[0] * size[1])) ** 0.5)
    size = (max(1, int(size[0] * shrink)), max(1, int(size[1] * shrink)))
    if size != image.size:
        smaller = size[0] < image.width
        image = image.resize(size, Image.Resampling.BOX if smaller else Image.Resampling.BILINEAR)
    return np.asarray(image)


def _region(image: Image.Image, left: float, upper: float, width: float, height: float) -> Image.Image:
    """A part of the picture. Of a region that reaches beyond the picture, what lies inside."""
    box = (
        min(max(0, int(left)), image.width - 1),
        min(max(0, int(upper)), image.height - 1),
        min(max(1, int(left + abs(width) + 0.5)), image.width),
        min(max(1, int(upper + abs(height) + 0.5)), image.height),
    )
    part = image.crop((box[0], box[1], max(box[2], box[0] + 1), max(box[3], box[1] + 1)))
    if width < 0:
        part = part.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return part.transpose(Image.Transpose.FLIP_TOP_BOTTOM) if height < 0 else part

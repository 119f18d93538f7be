"""The images of a report: the image that was read, and each positive finding's heatmap drawn on it."""

import base64
import io

from PIL import Image, ImageDraw, ImageFont

from apps.core.errors import InvalidInputError, UnavailableError
from apps.inference.rendering import image_png
from apps.inference.selectors import Heatmap
from apps.registry import engine
from apps.studies.models import Instance

IMAGE_SIDE = 1100
OVERLAY_SIDE = 640
OVERLAY_TAG = "AI overlay"
_JPEG_QUALITY = 88
# Full opacity would hide the anatomy under the strongest contributions.
_STRENGTH = 0.6
_TAG_COLOUR = "#ffd24d"


def load_image(instance: Instance) -> Image.Image:
    """The image as the portal shows it.

    Raises:
        UnavailableError: it was readable when the model read it, but is not now.
    """
    try:
        image = Image.open(io.BytesIO(image_png(instance)))
    except InvalidInputError as error:
        raise UnavailableError(f"The image cannot be shown: {error.detail}", error.code) from error
    return image.convert("L")


def image_uri(image: Image.Image) -> str:
    """The image as a data URI."""
    return _data_uri(_shrunk(image, IMAGE_SIDE))


def heatmap_overlay_uri(image: Image.Image, heatmap: Heatmap) -> str:
    """The image with a finding's heatmap as a data URI; a text in the image marks it as an overlay."""
    picture = _shrunk(image, OVERLAY_SIDE).convert("RGBA")
    rgba = engine.heatmap_rgba(
        heatmap.grid,
        heatmap.scale,
        heatmap.opacity * _STRENGTH,
        heatmap.geometry,
        rows=picture.height,
        columns=picture.width,
        inside=heatmap.inside,
    )
    picture.alpha_composite(Image.fromarray(rgba))
    _tag(picture)
    return _data_uri(picture.convert("RGB"))


def _tag(picture: Image.Image) -> None:
    size = max(14, picture.width // 32)
    font = ImageFont.load_default(size)
    draw = ImageDraw.Draw(picture)
    left, top, right, bottom = draw.textbbox((size // 2, size // 2), OVERLAY_TAG, font=font)
    pad = size // 3
    draw.rectangle((left - pad, top - pad, right + pad, bottom + pad), fill=_TAG_COLOUR)
    draw.text((size // 2, size // 2), OVERLAY_TAG, font=font, fill="black")


def _shrunk(image: Image.Image, side: int) -> Image.Image:
    picture = image.copy()
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    return picture


def _data_uri(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"

"""The images of a report: the image that was read, and each positive finding's heatmap drawn on it."""

import base64
import io
from collections.abc import Iterable

from django.utils.translation import gettext
from PIL import Image, ImageDraw, ImageFont

from apps.core.errors import InvalidInputError, UnavailableError
from apps.inference.rendering import image_png
from apps.inference.selectors import Heatmap
from apps.registry import engine
from apps.studies.models import Instance

IMAGE_SIDE = 1100
OVERLAY_SIDE = 640
_JPEG_QUALITY = 88
# Full opacity would hide the anatomy under the strongest contributions.
_STRENGTH = 0.6
_TAG_COLOUR = "#ffd24d"
_BOX_COLOUR = "#4dd0ff"


def load_image(instance: Instance) -> Image.Image:
    """The image as the portal shows it.

    Raises:
        UnavailableError: it was readable when the model read it, but is not now.
    """
    try:
        image = Image.open(io.BytesIO(image_png(instance)))
    except InvalidInputError as error:
        raise UnavailableError(
            gettext("The image cannot be shown: %(reason)s") % {"reason": error.detail}, error.code
        ) from error
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


def boxes_uri(image: Image.Image, boxes: Iterable[tuple[float, float, float, float]]) -> str:
    """The image with numbered boxes as a data URI.

    Args:
        boxes: left, top, right and bottom, each from 0 to 1 of the image.
    """
    picture = _shrunk(image, OVERLAY_SIDE).convert("RGB")
    draw = ImageDraw.Draw(picture)
    for number, (left, top, right, bottom) in enumerate(boxes, start=1):
        x, y = left * picture.width, top * picture.height
        draw.rectangle((x, y, right * picture.width - 1, bottom * picture.height - 1), outline=_BOX_COLOUR, width=2)
        _label(draw, x, y, str(number), max(14, picture.width // 32), _BOX_COLOUR)
    return _data_uri(picture)


def _label(draw: ImageDraw.ImageDraw, x: float, y: float, text: str, size: int, colour: str) -> None:
    """A text on a coloured ground whose upper left corner is at (x, y)."""
    font = ImageFont.load_default(size)
    pad = size // 3
    left, top, right, bottom = draw.textbbox((x + pad, y + pad), text, font=font)
    draw.rectangle((left - pad, top - pad, right + pad, bottom + pad), fill=colour)
    draw.text((x + pad, y + pad), text, font=font, fill="black")


def _tag(picture: Image.Image) -> None:
    size = max(14, picture.width // 32)
    _label(ImageDraw.Draw(picture), size // 6, size // 6, gettext("AI overlay"), size, _TAG_COLOUR)


def _shrunk(image: Image.Image, side: int) -> Image.Image:
    picture = image.copy()
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    return picture


def _data_uri(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"

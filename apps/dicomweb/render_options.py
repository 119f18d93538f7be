"""The query parameters of rendered resources (PS3.18 8.3.5)."""

import math
import re
from dataclasses import dataclass
from typing import Final

from django.http import QueryDict

from apps.core.errors import InvalidInputError

DEFAULT_QUALITY: Final = 90
THUMBNAIL_SIDE: Final = 256
_MOST_SIDE: Final = 8192
_NUMBER = re.compile(r"[+-]?(\d{1,9}(\.\d{0,9})?|\.\d{1,9})([eE][+-]?\d)?")
_FUNCTIONS: Final = {"linear": "LINEAR", "linear-exact": "LINEAR_EXACT", "sigmoid": "SIGMOID"}
_NOT_DRAWN: Final = "The annotation parameter is not supported. Pictures have no annotations."
_NO_PROFILE: Final = "The iccprofile parameter is not supported. Pictures have no ICC profile."


@dataclass(frozen=True)
class RenderOptions:
    """How a picture is rendered.

    Attributes:
        window: centre and width in modality units, and the VOI LUT Function.
        viewport: width and height into which it is fitted, and optionally the region that is shown.
        warnings: texts for the Warning header.
    """

    window: tuple[float, float, str] | None
    viewport: tuple[float, ...] | None
    quality: int
    warnings: tuple[str, ...]

    @property
    def key(self) -> str:
        """Distinguishes the picture from others of the same frame."""
        return f"{self.window}-{self.viewport}-{self.quality}"


def read_options(parameters: QueryDict, *, is_thumbnail: bool = False) -> RenderOptions:
    """Read the parameters of a rendered resource, or of a thumbnail, which has no window and no quality.

    Raises:
        InvalidInputError: one is not valid.
    """
    viewport = _viewport(parameters.get("viewport", ""))
    if viewport is None and is_thumbnail:
        viewport = (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    warnings = [text for name, text in (("annotation", _NOT_DRAWN), ("iccprofile", _NO_PROFILE)) if name in parameters]
    window = None if is_thumbnail else _window(parameters.get("window", ""))
    quality = DEFAULT_QUALITY if is_thumbnail else _quality(parameters.get("quality", ""))
    return RenderOptions(window, viewport, quality, tuple(warnings))


def _quality(text: str) -> int:
    if not text:
        return DEFAULT_QUALITY
    if not re.fullmatch("[0-9]{1,3}", text) or not 1 <= int(text) <= 100:
        raise InvalidInputError("quality must be a whole number from 1 to 100.", "quality-invalid")
    return int(text)


def _window(text: str) -> tuple[float, float, str] | None:
    if not text:
        return None
    centre, width, function = (*text.split(","), "", "", "")[:3]
    name = _FUNCTIONS.get(function.strip().lower() or "linear")
    numbers = _numbers([centre, width])
    if text.count(",") > 2 or numbers is None or name is None or numbers[1] < (1 if name == "LINEAR" else 1e-6):
        raise InvalidInputError(
            "window must be centre,width,function with a width of at least 1; the function is linear, linear-exact or "
            "sigmoid.",
            "window-invalid",
        )
    return numbers[0], numbers[1], name


def _viewport(text: str) -> tuple[float, ...] | None:
    """``width,height`` or ``width,height,left,upper,width,height``; empty values of the region are its defaults."""
    if not text:
        return None
    parts = text.split(",")
    sides = _numbers(parts[:2])
    region = _numbers([part.strip() or "0" for part in parts[2:]])
    is_valid = len(parts) in (2, 6) and sides is not None and all(1 <= side <= _MOST_SIDE for side in sides)
    if not is_valid or region is None or (region and (region[0] < 0 or region[1] < 0 or 0 in region[2:])):
        raise InvalidInputError(
            f"viewport must be width,height (1 to {_MOST_SIDE}), or these and the region left,upper,width,height.",
            "viewport-invalid",
        )
    assert sides is not None
    return (*sides, *region)


def _numbers(texts: list[str]) -> list[float] | None:
    if not all(_NUMBER.fullmatch(text.strip()) for text in texts):
        return None
    numbers = [float(text) for text in texts]
    return numbers if all(math.isfinite(number) for number in numbers) else None

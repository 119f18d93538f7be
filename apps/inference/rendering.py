"""Pictures for people: the film, and a finding's heatmap over it. Decoding happens in sandboxed children."""

import base64
import contextlib
import io
from functools import lru_cache
from pathlib import Path
from typing import Any

from django.conf import settings
from numpy.typing import NDArray
from PIL import Image

from apps.core.errors import InvalidInputError, OutOfSpaceError, UnavailableError
from apps.inference.selectors import Heatmap
from apps.registry import engine
from apps.studies.models import Instance
from apps.studies.storage import local_path, put_bytes, read_bytes

FILM_SIDE = 1536
HEATMAP_SIDE = 768
OVERLAY_SIDE = 320


@lru_cache(maxsize=1)
def sandbox() -> "engine.Sandbox":
    """The decoders of this web process, started when first needed."""
    return engine.Sandbox(workers=settings.RENDER_PROCESSES)


def film_png(instance: Instance, max_side: int = FILM_SIDE) -> bytes:
    """The film as an 8-bit PNG no larger than ``max_side``, made once and kept beside the object.

    Raises:
        InvalidInputError: the film cannot be decoded.
        ObjectLostError: the object is missing or damaged.
        UnavailableError: the storage did not answer, or no decoder could be started.
    """
    key = f"{instance.object_key}.{engine.DISPLAY_VERSION}.{max_side}.png"
    with contextlib.suppress(FileNotFoundError):
        return read_bytes(key)
    try:
        with local_path(instance.object_key) as path:
            grey = sandbox().submit(engine.render_grey, path, max_side).result()
    except engine.InputRejected as error:
        kind = UnavailableError if error.code in engine.RETRYABLE else InvalidInputError
        raise kind(error.detail, error.code) from error
    # Written here and not by the child, whose bytes no reader of PNG may have to trust.
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, "PNG", compress_level=1)
    png = buffer.getvalue()
    # Kept for the next reader; this one has it at hand.
    with contextlib.suppress(OutOfSpaceError, UnavailableError):
        put_bytes(key, png)
    return png


def same_instance(one: Path, other: Path) -> bool:
    """Whether two DICOM files are one instance that came by two routes (see ``ml.dicom.same_instance``).

    Raises:
        InvalidInputError: the pixels of one cannot be decoded.
        UnavailableError: no decoder could be started.
    """
    try:
        is_same: bool = sandbox().submit(engine.same_instance, one, other).result()
    except engine.InputRejected as error:
        kind = UnavailableError if error.code in engine.RETRYABLE else InvalidInputError
        raise kind(error.detail, error.code) from error
    return is_same


def heatmap_png(heatmap: Heatmap, max_side: int = HEATMAP_SIDE) -> bytes:
    """A finding's map as a transparent PNG in the film's own proportions, on the version's fixed scale."""
    return _overlay_png(heatmap.grid, heatmap.scale, heatmap.opacity, heatmap.geometry, max_side)


def overlay_uri(grid: NDArray[Any], scale: "engine.CamScale", opacity: float, geometry: "engine.Geometry") -> str:
    """A map as a data URI (RFC 2397) of a small PNG: the grid has too few cells for a large one to show more."""
    png = _overlay_png(grid, scale, opacity, geometry, OVERLAY_SIDE)
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _overlay_png(
    grid: NDArray[Any], scale: "engine.CamScale", opacity: float, geometry: "engine.Geometry", max_side: int
) -> bytes:
    factor = min(1.0, max_side / max(geometry.rows, geometry.columns))
    rgba = engine.heatmap_rgba(
        grid,
        scale,
        opacity,
        geometry,
        rows=max(1, round(geometry.rows * factor)),
        columns=max(1, round(geometry.columns * factor)),
    )
    buffer = io.BytesIO()
    Image.fromarray(rgba).save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()

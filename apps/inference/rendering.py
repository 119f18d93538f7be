"""Renders the displayed image of an instance, and a finding's heatmap. Sandboxed child processes decode the pixels."""

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

IMAGE_SIDE = 1536
HEATMAP_SIDE = 768
OVERLAY_SIDE = 320
CONTOUR_SIDE = 128


@lru_cache(maxsize=1)
def sandbox() -> "engine.Sandbox":
    """The decoder processes of this web process, started at their first use."""
    return engine.Sandbox(workers=settings.RENDER_PROCESSES)


def image_png(instance: Instance, max_side: int = IMAGE_SIDE) -> bytes:
    """The displayed image as an 8-bit PNG no larger than ``max_side``, rendered once and stored beside the object.

    Raises:
        InvalidInputError: the image cannot be decoded.
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
    # Encoded here and not in the child process, so that no PNG decoder has to trust bytes of the child.
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, "PNG", compress_level=1)
    png = buffer.getvalue()
    # A storage that fails now must not fail this request: the PNG is stored only for later ones.
    with contextlib.suppress(OutOfSpaceError, UnavailableError):
        put_bytes(key, png)
    return png


def is_same_instance(one: Path, other: Path) -> bool:
    """Whether two DICOM files are the same instance, sent by two systems (see ``ml.dicom.same_instance``).

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
    """A finding's map as a transparent PNG in the image's proportions, on the version's fixed scale."""
    return _overlay_png(heatmap.grid, heatmap.scale, heatmap.opacity, heatmap.geometry, heatmap.inside, max_side)


def contribution_values(heatmap: Heatmap) -> dict[str, Any]:
    """A finding's map as numbers, for contours: `values` row by row, 0..255 on the version's fixed scale."""
    rows, columns = _size(heatmap.geometry, CONTOUR_SIDE)
    found = engine.displayed_contribution(
        heatmap.grid, heatmap.scale, heatmap.geometry, rows=rows, columns=columns, inside=heatmap.inside
    )
    return {"rows": rows, "columns": columns, "values": (255 * found).round().astype(int).ravel().tolist()}


def overlay_uri(
    grid: NDArray[Any],
    scale: "engine.CamScale",
    opacity: float,
    geometry: "engine.Geometry",
    inside: NDArray[Any] | None,
) -> str:
    """A map as a data URI (RFC 2397) of a small PNG: a larger one would not show more of the coarse grid."""
    png = _overlay_png(grid, scale, opacity, geometry, inside, OVERLAY_SIDE)
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _overlay_png(
    grid: NDArray[Any],
    scale: "engine.CamScale",
    opacity: float,
    geometry: "engine.Geometry",
    inside: NDArray[Any] | None,
    max_side: int,
) -> bytes:
    rows, columns = _size(geometry, max_side)
    rgba = engine.heatmap_rgba(grid, scale, opacity, geometry, rows=rows, columns=columns, inside=inside)
    buffer = io.BytesIO()
    Image.fromarray(rgba).save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


def _size(geometry: "engine.Geometry", max_side: int) -> tuple[int, int]:
    """Rows and columns of an overlay in the image's proportions."""
    factor = min(1.0, max_side / max(geometry.rows, geometry.columns))
    return max(1, round(geometry.rows * factor)), max(1, round(geometry.columns * factor))

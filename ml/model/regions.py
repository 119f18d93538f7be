"""The place of a map's strongest contribution, as a region of the displayed image."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.model.saliency import CamScale
from ml.model.transforms import Geometry, map_back

RASTER = 96
"""Rows or columns of the raster on which regions are found; maps are far coarser."""

SHARE_OF_PEAK = 0.5


@dataclass(frozen=True, eq=False)
class Region:
    """A connected part of the displayed image.

    Attributes:
        mask: bool (rows, columns) of a raster over the image, at most `RASTER` long.
        box: left, top, right and bottom, as shares of the image's sides.
    """

    mask: NDArray[np.bool_]
    box: tuple[float, float, float, float]


def strongest_region(
    cam: NDArray[Any], scale: CamScale, geometry: Geometry, inside: NDArray[Any] | None = None
) -> Region | None:
    """The connected cells around the strongest contribution that have at least half of it.

    Args:
        cam, scale, geometry, inside: as in `ml.model.saliency.heatmap_rgba`.

    Returns:
        None where nothing contributes on the version's fixed scale.
    """
    factor = RASTER / max(geometry.rows, geometry.columns)
    rows, columns = (max(1, round(side * factor)) for side in (geometry.rows, geometry.columns))
    values = map_back(np.asarray(cam, dtype=np.float32) - np.float32(scale.e0), geometry, rows, columns)
    if inside is not None:
        values = np.where(map_back(inside, geometry, rows, columns) >= 0.5, values, 0.0)
    peak = float(values.max(initial=0.0))
    if scale.s <= 0.0 or peak <= 0.0:
        return None
    mask = _connected(values >= SHARE_OF_PEAK * peak, np.unravel_index(int(np.argmax(values)), values.shape))
    down, across = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = (across[0] / columns, down[0] / rows, (across[-1] + 1) / columns, (down[-1] + 1) / rows)
    return Region(mask, (float(box[0]), float(box[1]), float(box[2]), float(box[3])))


def _connected(cells: NDArray[np.bool_], start: Any) -> NDArray[np.bool_]:
    """The cells that hang together with one of them by their sides."""
    region = np.zeros_like(cells)
    region[start] = True
    while True:
        grown = region.copy()
        grown[1:] |= region[:-1]
        grown[:-1] |= region[1:]
        grown[:, 1:] |= region[:, :-1]
        grown[:, :-1] |= region[:, 1:]
        grown &= cells
        if (grown == region).all():
            return region
        region = grown

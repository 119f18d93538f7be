"""Draw findings: each function changes a lung field and returns the finding's box in pixels (x, y, width, height)."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ml.phantom.anatomy import Anatomy
from ml.phantom.geometry import Canvas, Ellipsoid, FloatArray, blur
from ml.phantom.thorax import LungField, lung_field

Box = tuple[int, int, int, int]


@dataclass
class Tissue:
    """Tissue that findings add: free gas without lung, per lung, and solid tissue, both in cm of path length."""

    free_gas: dict[int, FloatArray]
    solid: FloatArray


def box_of(mask: NDArray[np.bool_], left: int = 0) -> Box:
    """The bounding box of a mask whose first column is column `left` of the image."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        raise ValueError("a finding has no pixel in this image: use a larger size")
    return int(columns[0]) + left, int(rows[0]), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1


def plant_effusion(canvas: Canvas, field: LungField, rng: np.random.Generator) -> Box:
    """Free fluid in an upright patient: it fills the recess and climbs along the wall in a meniscus."""
    level = field.side.dome - float(rng.uniform(0.3, 5.5))
    climb = 3.0 * np.clip(field.lateral, 0, 1.05) ** 2.5 + 0.9 * np.clip(-field.lateral, 0, 1) ** 4
    surface = level - climb
    # The layer of fluid along the front and back walls fades the upper border over about 2 cm.
    share = 1 / (1 + np.exp(-(canvas.y - surface - 0.4) / 0.4))
    wet = (share > 0.5) & (field.half > 0.6) & (canvas.y < field.floor + 1.5)
    field.air *= (1 - 0.97 * share).astype(np.float32)
    return box_of(wet, field.columns.start)


def plant_pneumothorax(
    canvas: Canvas, anatomy: Anatomy, field: LungField, tissue: Tissue, rng: np.random.Generator
) -> Box:
    """Air between the wall and a lung that has shrunk from it: no vessel markings beyond a thin pleural line."""
    gap = float(rng.uniform(1.3, 3.0))
    loose = replace(anatomy, cage_width=anatomy.cage_width - gap)
    shrunk = lung_field(canvas, loose, replace(field.side, apex=field.side.apex + 1.5 * gap))
    kept = np.minimum(shrunk.half, field.half)
    gas = np.clip(2 * (field.half - kept), 0, field.air)
    tissue.free_gas[field.side.sign] = gas
    inside = blur((kept > 0).astype(np.float32), 0.05 * canvas.scale)
    line = 4 * inside * (1 - inside) * (field.half > 0.3) * (canvas.y < field.side.dome - 1.5)
    tissue.solid[:, field.columns] += 0.42 * line
    return box_of((kept <= 0) & (field.half > 0.8) & (field.air > 1.0), field.columns.start)


def plant_lump(canvas: Canvas, field: LungField, tissue: Tissue, rng: np.random.Generator, radius: float) -> Box:
    """A nodule (one ball) or a mass (lobes around a core) of `radius` cm inside clear lung."""
    x, y = _clear_spot(canvas, field, rng, radius)
    lobes = [Ellipsoid(x, y, 0, radius, radius * float(rng.uniform(0.85, 1.1)), radius, float(rng.uniform(0, 3)))]
    for _ in range(5 if radius > 1.6 else 2):
        turn, part = float(rng.uniform(0, 2 * np.pi)), radius * float(rng.uniform(0.45, 0.65))
        reach = radius * 0.6
        lobes.append(Ellipsoid(x + reach * np.cos(turn), y + reach * np.sin(turn), 0, part, part * 0.9, part, turn))
    thick = canvas.zeros()
    for lobe in lobes:
        chord = canvas.half_chord(lobe)
        if chord is not None:
            window, half = chord
            thick[window] = np.maximum(thick[window], 2 * half)
    room = field.air * 0.9
    tissue.solid[:, field.columns] += np.minimum(0.95 * blur(thick, 0.06 * canvas.scale)[:, field.columns], room)
    return box_of(thick > 0)


def _clear_spot(canvas: Canvas, field: LungField, rng: np.random.Generator, radius: float) -> tuple[float, float]:
    """A point whose neighbourhood of `radius` cm is aerated lung over its whole depth."""
    step = max(canvas.size // 64, 1)
    half, air = field.half[::step, ::step], field.air[::step, ::step]
    clear = (half > 2.5) & (air > 1.7 * half)
    reach = int(np.ceil(radius * 0.9 * canvas.scale / step))
    for axis in (0, 1):
        clear = clear & np.roll(clear, reach, axis) & np.roll(clear, -reach, axis)
    clear[:reach] = clear[-reach:] = False
    spots = np.argwhere(clear)
    if not len(spots):
        spots = np.argwhere(air > 0.9 * air.max())
    row, column = (int(v) for v in spots[int(rng.integers(len(spots)))] * step)
    return float(canvas.x[row, field.columns.start + column]), float(canvas.rows[row])


def heart_box(canvas: Canvas, bodies: list[Ellipsoid]) -> Box:
    """The box of the heart's outline, as drawn by a reader: ventricle and atrium."""
    mask = np.zeros((canvas.size, canvas.size), bool)
    for body in bodies:
        chord = canvas.half_chord(body)
        if chord is not None:
            mask[chord[0]] |= chord[1] > 0
    return box_of(mask)

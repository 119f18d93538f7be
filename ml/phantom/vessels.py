"""Lung vessels: trees of tapering tubes that leave each hilum and branch after Murray's law (r0^3 = r1^3 + r2^3)."""

import numpy as np

from ml.phantom.anatomy import Anatomy, Side
from ml.phantom.geometry import Canvas, FloatArray, add_tube

SMALLEST_CM = 0.055


def vessel_path(canvas: Canvas, anatomy: Anatomy, rng: np.random.Generator) -> FloatArray:
    """Path length through vessels of both lungs, in cm; it counts only where there is air around it."""
    target = canvas.zeros()
    for side in anatomy.sides:
        hilum = anatomy.right.apex + (13.4 if side.sign < 0 else 12.3)
        root = np.array([side.sign * 3.0, hilum])
        count = 11
        for k in range(count):
            # From straight up (-1.35) through lateral (0) to down along the heart (1.45).
            heading = -1.35 + 2.75 * (k + float(rng.uniform(-0.3, 0.3))) / (count - 1)
            radius = float(rng.uniform(0.3, 0.44)) * (1.25 if heading > 0.5 else 1.0)
            _branch(canvas, target, rng, side, root + rng.normal(0, 0.6, 2), heading, radius)
        _hilum(canvas, target, rng, side, root)
    return target * np.float32(anatomy.vessel_gain)


def _branch(
    canvas: Canvas,
    target: FloatArray,
    rng: np.random.Generator,
    side: Side,
    start: np.ndarray,
    heading: float,
    radius: float,
) -> None:
    if radius < SMALLEST_CM:
        return
    steps = 3
    length = 2.6 * (radius / 0.3) ** 0.55 * float(rng.uniform(0.7, 1.3))
    bend = float(rng.normal(0, 0.12))
    angles = heading + bend * np.arange(steps + 1)
    hops = np.column_stack([side.sign * np.cos(angles), np.sin(angles)]) * (length / steps)
    points = np.vstack([start, start + np.cumsum(hops, axis=0)])
    taper = np.linspace(radius, radius * 0.86, len(points))
    # A vessel that runs along the beam is seen end-on: a shorter and denser shadow.
    along_beam = 1 + 0.8 * float(rng.random()) ** 4
    # Parent and children overlap at a fork; the faded ends keep their sum from showing as a bead.
    add_tube(canvas, target, points, taper, 1.7 * taper * along_beam * np.array([0.45, 1, 1, 1, 0.6]))
    share = float(rng.uniform(0.35, 0.65))
    fork = float(rng.uniform(0.3, 0.75))
    end = points[-1]
    for part, turn in ((share, fork * (1 - share)), (1 - share, -fork * share)):
        _branch(canvas, target, rng, side, end, heading + bend * steps + turn, 0.84 * radius * part ** (1 / 3))


def _hilum(canvas: Canvas, target: FloatArray, rng: np.random.Generator, side: Side, root: np.ndarray) -> None:
    lower = np.array([[0.4, -0.8], [1.0, 0.6], [1.3, 2.2], [1.2, 4.2]]) * [side.sign, 1] + root + rng.normal(0, 0.15, 2)
    add_tube(canvas, target, lower, [0.75, 0.8, 0.65, 0.45], [1.2, 1.3, 1.1, 0.8])
    upper = np.array([[0.6, 0.2], [1.2, -1.2], [1.8, -2.6]]) * [side.sign, 1] + root + rng.normal(0, 0.15, 2)
    add_tube(canvas, target, upper, [0.6, 0.55, 0.4], [0.9, 0.9, 0.6])

"""Phantoms of radiographs that are not frontal chest images: limbs, hands, joints, abdomen, skull, lateral chest.

They are path lengths of a parallel beam through ellipsoids and tubes, drawn with much variation and little anatomy.
They stand in for real images of these parts, of which the public chest collections have none.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

Square = NDArray[np.uint8]
Point = tuple[float, float]
COARSE = 160
"""Pixels a side at which depths are computed; noise and edges come at the full size."""


class Beam:
    """The optical depth of each pixel. Coordinates run from -1 to 1 across the image, y downwards."""

    def __init__(self, size: int, rng: np.random.Generator) -> None:
        self.size, self.rng = size, rng
        coarse = min(size, COARSE)
        axis = (np.arange(coarse, dtype=np.float32) + 0.5) / coarse * 2 - 1
        self.x, self.y = axis[None, :], axis[:, None]
        self.depth: NDArray[Any] = np.zeros((coarse, coarse), np.float32)

    def ellipsoid(self, centre: Point, axes: Point, depth: float, tilt: float = 0.0, shell: float = 0.0) -> None:
        """Add an ellipsoid, `depth` at its centre; with `shell` > 0 only its wall, of that share of the axes."""
        dx, dy = self.x - centre[0], self.y - centre[1]
        u = (dx * np.cos(tilt) + dy * np.sin(tilt)) / axes[0]
        v = (dy * np.cos(tilt) - dx * np.sin(tilt)) / axes[1]
        squared = u * u + v * v
        self.depth += depth * np.sqrt(np.maximum(1 - squared, 0))
        if shell:
            self.depth -= depth * np.sqrt(np.maximum((1 - shell) ** 2 - squared, 0))

    def tube(self, points: Sequence[Point], radii: Sequence[float], depth: float, hollow: float = 0.0) -> None:
        """Add a tube along points, each with its radius; `hollow` is the share of the radius without matter."""
        nearest = np.full(self.depth.shape, np.inf, np.float32)
        for (x0, y0), (x1, y1), r0, r1 in zip(points, points[1:], radii, radii[1:], strict=False):
            length = max((x1 - x0) ** 2 + (y1 - y0) ** 2, 1e-9)
            along = np.clip(((self.x - x0) * (x1 - x0) + (self.y - y0) * (y1 - y0)) / length, 0, 1)
            away = (self.x - x0 - along * (x1 - x0)) ** 2 + (self.y - y0 - along * (y1 - y0)) ** 2
            nearest = np.minimum(nearest, away / (r0 + along * (r1 - r0)) ** 2)
        self.depth += depth * np.sqrt(np.maximum(1 - nearest, 0))
        if hollow:
            self.depth -= 0.6 * depth * np.sqrt(np.maximum(hollow**2 - nearest, 0))

    def exposed(self) -> Square:
        """Grey values: logarithm, tone curve, edge enhancement, noise; air is black, at times not quite."""
        rng = self.rng
        wide = Image.fromarray(self.depth).resize((self.size, self.size), Image.Resampling.BICUBIC)
        depth = np.maximum(np.asarray(wide), 0)
        scale = float(np.quantile(depth, rng.uniform(0.93, 0.995))) + 1e-6
        grey = np.clip(depth / scale, 0, 1.15) ** rng.uniform(0.5, 1.1)
        grey = rng.uniform(0, 0.08) + grey * rng.uniform(0.7, 0.95)
        grey += rng.normal(0, rng.uniform(0.003, 0.03), grey.shape)
        image = Image.fromarray(np.clip(grey * 255, 0, 255).astype(np.uint8))
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.2)))
        return np.asarray(image.filter(ImageFilter.UnsharpMask(rng.uniform(1, 6), int(rng.uniform(0, 150)), 0)))


def limb(size: int, rng: np.random.Generator) -> Square:
    """One or two long bones with their joints in soft tissue, at any angle."""
    beam, angle = Beam(size, rng), rng.uniform(0, np.pi)
    cos, sin = float(np.cos(angle)), float(np.sin(angle))
    bend = rng.uniform(-0.6, 0.6)
    flesh = rng.uniform(0.3, 0.6)

    def at(along: float, across: float) -> Point:
        across += bend * max(along, 0.0)
        return along * cos - across * sin, along * sin + across * cos

    beam.tube(
        [at(-1.6, 0), at(0, 0), at(1.6, 0)], [flesh * rng.uniform(0.8, 1.3), flesh, flesh * rng.uniform(0.6, 1.1)], 1.0
    )
    joint = rng.uniform(-0.5, 0.5)
    for across in [0.0] if rng.random() < 0.5 else [-0.4 * flesh, 0.4 * flesh]:
        for start, end in ((-1.6, joint - 0.03), (joint + 0.03, 1.6)):
            radius = flesh * rng.uniform(0.2, 0.35)
            wide = radius * rng.uniform(1.3, 1.9)
            near, far = (end, start) if start < -1 else (start, end)
            middle = near + np.sign(far - near) * 0.25
            beam.tube(
                [at(far, across), at(middle, across), at(near, across)],
                [radius, radius, wide],
                rng.uniform(0.8, 2),
                0.7,
            )
    return beam.exposed()


def hand(size: int, rng: np.random.Generator) -> Square:
    """A hand or foot: five rays of three or four bones, and the bones of the wrist."""
    beam, fingers = Beam(size, rng), 5
    up, spread, reach = rng.choice([-1, 1]), rng.uniform(0.15, 0.5), rng.uniform(0.8, 1.2)
    beam.ellipsoid((0, 0.45 * up), (rng.uniform(0.35, 0.5), 0.5), 0.8)
    for finger in range(fingers):
        lean = (finger - 2) / 2 * spread + rng.normal(0, 0.04)
        length = reach * (1.0 - 0.12 * abs(finger - 2)) * rng.uniform(0.9, 1.05)
        base = ((finger - 2) * 0.13, 0.35 * up)
        tip = (base[0] + length * np.sin(lean), base[1] - up * length * np.cos(lean))
        beam.tube([base, tip], [0.11, 0.08], 0.7)
        cuts = np.cumsum([0.0, 0.38, 0.28, 0.19, 0.15])
        for start, end in pairwise(cuts):
            a, b = (
                (base[0] + t * (tip[0] - base[0]), base[1] + t * (tip[1] - base[1])) for t in (start + 0.01, end - 0.02)
            )
            beam.tube([a, b], [0.05, 0.04], rng.uniform(0.7, 1.2), 0.5)
    for _ in range(8):
        beam.ellipsoid((rng.uniform(-0.25, 0.25), up * rng.uniform(0.45, 0.65)), (0.09, 0.08), 0.9, rng.uniform(0, 3))
    for across in (-0.13, 0.13):
        beam.tube([(across, 0.65 * up), (across * 1.2, 1.3 * up)], [0.11, 0.09], 1.2, 0.6)
    return beam.exposed()


def abdomen(size: int, rng: np.random.Generator) -> Square:
    """Trunk without lungs: lumbar spine, pelvis, gas in loops of bowel, lowest ribs."""
    beam = Beam(size, rng)
    wide, shift = rng.uniform(0.75, 1.1), rng.normal(0, 0.05)
    beam.tube([(shift, -1.3), (shift, 1.3)], [wide, wide * rng.uniform(0.9, 1.15)], 1.5)
    _spine(beam, shift, rng.uniform(0.1, 0.16), rng.uniform(0.6, 1.2))
    hip = rng.uniform(0.3, 0.9)
    for side in (-1, 1):
        beam.ellipsoid(
            (shift + side * 0.48, hip), (0.33, rng.uniform(0.3, 0.42)), rng.uniform(0.4, 0.9), side * 0.5, 0.25
        )
        beam.ellipsoid((shift + side * 0.55, hip + 0.45), (0.16, 0.16), 0.7)
        for rib in range(int(rng.integers(0, 4))):
            y = -0.95 + 0.2 * rib
            beam.tube([(shift + side * 0.15, y), (shift + side * 0.75, y + 0.3)], [0.05, 0.04], 0.35)
    for _ in range(int(rng.integers(3, 16))):
        place = (rng.uniform(-0.7, 0.7) + shift, rng.uniform(-0.8, 0.7))
        axes = (rng.uniform(0.05, 0.22), rng.uniform(0.05, 0.16))
        beam.ellipsoid(place, axes, -rng.uniform(0.15, 0.7), rng.uniform(0, 3))
    return beam.exposed()


def _spine(beam: Beam, x: float, half: float, depth: float, lean: float = 0.0) -> None:
    step = half * beam.rng.uniform(1.2, 1.7)
    for y in np.arange(-1.1, 1.2, step):
        at = x + lean * float(y) + 0.03 * float(np.sin(2 * y))
        beam.ellipsoid((at, float(y)), (half, step * 0.47), depth)
        beam.ellipsoid((at, float(y)), (half * 1.7, step * 0.16), depth * 0.3)


def skull(size: int, rng: np.random.Generator) -> Square:
    """A head from the front or the side: the vault's wall, orbits or sinuses, jaw, neck."""
    beam = Beam(size, rng)
    centre = (rng.normal(0, 0.08), rng.uniform(-0.35, -0.05))
    axes = (rng.uniform(0.5, 0.8), rng.uniform(0.55, 0.75))
    beam.ellipsoid(centre, (axes[0] * 1.06, axes[1] * 1.06), 1.0)
    beam.ellipsoid(centre, axes, rng.uniform(0.8, 1.8), rng.uniform(-0.2, 0.2), rng.uniform(0.06, 0.14))
    beam.tube([(centre[0], centre[1] + 0.4), (centre[0] + rng.normal(0, 0.15), 1.3)], [0.35, 0.4], 0.8)
    _spine(beam, centre[0], 0.1, 0.4)
    for side in (-1, 1):
        at = (centre[0] + side * rng.uniform(0.15, 0.3), centre[1] + rng.uniform(0.1, 0.3))
        beam.ellipsoid(at, (0.15, 0.13), -0.4)
        beam.ellipsoid((at[0], at[1] + 0.3), (0.13, 0.12), -rng.uniform(0.2, 0.5))
    return beam.exposed()


def lateral_chest(size: int, rng: np.random.Generator) -> Square:
    """A chest from the side: spine behind, breastbone in front, lungs between and over the heart, two domes."""
    beam, facing = Beam(size, rng), float(rng.choice([-1, 1]))
    beam.tube([(0, -1.3), (0, -0.2), (0.05 * facing, 1.3)], [0.45, rng.uniform(0.6, 0.8), 0.75], 1.4)
    _spine(beam, -0.5 * facing, rng.uniform(0.08, 0.12), rng.uniform(0.5, 1.0), 0.1 * facing)
    tilt = 0.25 * facing
    lung = (rng.uniform(0.42, 0.55), rng.uniform(0.7, 0.85))
    beam.ellipsoid((0, -0.1), lung, -rng.uniform(0.8, 1.15), tilt)
    beam.ellipsoid((0.2 * facing, 0.25), (rng.uniform(0.24, 0.34), 0.33), rng.uniform(0.35, 0.7), -tilt)
    for dome in (0.0, rng.uniform(0.03, 0.12)):
        beam.ellipsoid((-0.05 * facing, 0.95 + dome), (0.62, rng.uniform(0.35, 0.5)), 0.6)
    beam.tube([(0.45 * facing, -0.55), (0.58 * facing, 0.25)], [0.03, 0.03], 0.6)
    beam.tube([(0.1 * facing, -1.2), (0.35 * facing, -0.75)], [rng.uniform(0.15, 0.3), 0.15], rng.uniform(0, 0.9))
    for rib in range(int(rng.integers(5, 10))):
        y = -0.7 + 0.17 * rib
        beam.tube([(-0.5 * facing, y), (0, y + 0.2), (0.45 * facing, y + 0.32)], [0.03] * 3, 0.22)
    return beam.exposed()


def joint_or_spine(size: int, rng: np.random.Generator) -> Square:
    """A shoulder, a hip or a spine: the head of a bone at a blade of bone, or vertebrae in soft tissue."""
    beam, side = Beam(size, rng), float(rng.choice([-1, 1]))
    beam.ellipsoid((rng.uniform(-0.4, 0.4), rng.uniform(-0.3, 0.3)), (1.1, rng.uniform(0.8, 1.3)), 1.0)
    if rng.random() < 0.4:
        _spine(beam, rng.normal(0, 0.15), rng.uniform(0.15, 0.28), rng.uniform(0.6, 1.4), rng.normal(0, 0.1))
        return beam.exposed()
    head = (side * rng.uniform(0.0, 0.35), rng.uniform(-0.35, 0.1))
    beam.ellipsoid(head, (0.26, 0.26), 0.9)
    beam.tube([head, (head[0] + side * rng.uniform(0.1, 0.5), 1.3)], [0.2, 0.13], 1.2, 0.6)
    beam.ellipsoid((head[0] - side * 0.5, head[1] + 0.35), (0.3, 0.5), 0.6, side * 0.4, 0.3)
    beam.tube([(head[0] - side * 1.2, head[1] - 0.4), (head[0], head[1] - 0.3)], [0.06, 0.08], 0.8, 0.5)
    if rng.random() < 0.5:
        beam.ellipsoid((head[0] - side * 0.9, head[1] + 0.5), (0.4, 0.7), -0.5)
    return beam.exposed()


PARTS: tuple[Callable[[int, np.random.Generator], Square], ...] = (
    limb,
    hand,
    abdomen,
    skull,
    lateral_chest,
    joint_or_spine,
)


def other_radiographs(size: int, count: int, seed: int) -> NDArray[np.uint8]:
    """`count` phantoms of other radiographs uint8 (count, size, size), the parts in turn, deterministic by seed."""
    rng = np.random.default_rng(seed)
    return np.stack([PARTS[i % len(PARTS)](size, rng) for i in range(count)])

"""Soft tissue and air as path lengths along the beam: body, lungs, heart, great vessels, airways, stomach."""

from dataclasses import dataclass

import numpy as np

from ml.phantom.anatomy import Anatomy, Side
from ml.phantom.geometry import Canvas, Ellipsoid, FloatArray, add_tube, smooth_curve

FAR_CM = 99.0
DOME_Z_CM = -1.2


@dataclass
class LungField:
    """One pleural cavity in the image, in cm along the beam.

    `half` is its half depth, `air` the aerated part of the depth, `abdomen` the half depth of the dome of the diaphragm
    inside it. `lateral` runs from 0 at the lung's crest to 1 at the wall, and is negative towards the mediastinum.
    `floor` is the height of the dome in the image.
    """

    side: Side
    columns: slice
    half: FloatArray
    air: FloatArray
    abdomen: FloatArray
    lateral: FloatArray
    floor: FloatArray


def body_path(canvas: Canvas, anatomy: Anatomy) -> FloatArray:
    """Thickness of trunk, neck, shoulders and upper arms in cm, as if the patient had no lungs."""
    y = canvas.rows
    cage = anatomy.wall_at(anatomy.left, np.maximum(y, 12.0))
    width = (cage + anatomy.wall + 0.9 + anatomy.belly * np.clip((y - 20) / 16, 0, 1))[:, None]
    depth = (anatomy.cage_depth + 1.9 + 0.35 * anatomy.wall + 0.25 * anatomy.belly * np.clip((y - 18) / 12, 0, 1))[
        :, None
    ]
    rise = np.clip((canvas.y - 2.5 - anatomy.shoulder) / 9.0, 0, 1)
    trunk = 2 * depth * rise**0.5 * _plate(canvas.x / width, 5)
    trapezius = anatomy.neck + 13.0 * np.clip((canvas.y - 1.0 - anatomy.shoulder) / 8.0, 0, 2) ** 1.5
    slope = 17.5 * np.exp(-(((canvas.y - 9.0) / 6.5) ** 2)) * _plate(canvas.x / trapezius, 2)
    throat = anatomy.neck + 0.15 * np.maximum(canvas.y - 2, 0) ** 1.5
    neck = 12.5 * _plate(canvas.x / throat, 3) * np.clip((14 - canvas.y) / 9, 0, 1)
    arms = canvas.zeros()
    for side in anatomy.sides:
        _arm(canvas, anatomy, side, arms)
    total = trunk**4 + slope**4 + neck**4 + arms**4
    return np.sqrt(np.sqrt(total))


def _plate(u: FloatArray, power: int) -> FloatArray:
    return np.sqrt(np.maximum(1 - np.abs(u) ** power, 0))


def _arm(canvas: Canvas, anatomy: Anatomy, side: Side, target: FloatArray) -> None:
    start = np.array([side.sign * (anatomy.cage_width + 1.6), 10.2 + anatomy.shoulder])
    reach = np.array([side.sign * np.sin(side.arm_angle), np.cos(side.arm_angle)])
    path = np.stack([start - reach * 1.5 - [side.sign * 3.0, 0], start, start + reach * 12, start + reach * 30])
    path[0, 1] = start[1] - 0.5
    radius = np.array([4.2, 5.0, 4.4, 4.0]) + 0.3 * anatomy.wall
    curve = smooth_curve(np.column_stack([path, radius]).tolist(), 16)
    add_tube(canvas, target, curve[:, :2], curve[:, 2], curve[:, 2] * 2.5)


def lung_field(canvas: Canvas, anatomy: Anatomy, side: Side) -> LungField:
    """The pleural cavity of one side: elliptic slices between rib cage and mediastinum, above the diaphragm's dome."""
    middle = canvas.size // 2
    reach = canvas.size // 8
    columns = slice(0, middle + reach) if side.sign < 0 else slice(middle - reach, canvas.size)
    x = side.sign * canvas.x[:, columns]
    y = canvas.rows
    wall = anatomy.wall_at(side, y)[:, None]
    medial = anatomy.medial_at(side, y)[:, None]
    depth = np.where(y > side.apex, anatomy.depth_at(side, y), 0).astype(np.float32)[:, None]
    crest = medial + 0.42 * (wall - medial)
    lateral = (x - crest) / np.maximum(wall - crest, 0.01)
    inner = (crest - x) / np.maximum(crest - medial, 0.01)
    out = np.clip(lateral, 0, 1)
    into = np.clip(inner, 0, 1)
    half = depth * np.sqrt(np.maximum(1 - out * out, 0)) * np.sqrt(np.maximum(1 - into**3, 0))
    floor = side.dome + side.drop * (1 - np.sqrt(np.maximum(1 - (out * 0.985) ** 2, 0))) + 0.5 * into * into
    below = np.clip((canvas.y - floor) / 5.0, 0, 1)
    abdomen = (anatomy.cage_depth * 1.12) * np.sqrt(below)
    return LungField(side, columns, half, 2 * half, abdomen, lateral.astype(np.float32), floor.astype(np.float32))


def carve(canvas: Canvas, fields: dict[int, LungField], bodies: list[Ellipsoid]) -> None:
    """Subtract the organs from the lungs' air; along each ray they count as one solid from front to back."""
    front = np.full((canvas.size, canvas.size), FAR_CM, np.float32)
    back = np.full((canvas.size, canvas.size), -FAR_CM, np.float32)
    for body in bodies:
        chord = canvas.half_chord(body)
        if chord is None:
            continue
        window, half = chord
        inside = half > 0
        front[window] = np.where(inside, np.minimum(front[window], body.z - half), front[window])
        back[window] = np.where(inside, np.maximum(back[window], body.z + half), back[window])
    for field in fields.values():
        dome = field.abdomen > 0
        near = np.where(dome, np.minimum(front[:, field.columns], DOME_Z_CM - field.abdomen), front[:, field.columns])
        far = np.where(dome, np.maximum(back[:, field.columns], DOME_Z_CM + field.abdomen), back[:, field.columns])
        solid = np.maximum(np.minimum(field.half, far) - np.maximum(-field.half, near), 0)
        field.air = np.maximum(2 * field.half - solid, 0)


def heart_bodies(anatomy: Anatomy, ratio: float | None = None) -> list[Ellipsoid]:
    """The heart: left ventricle, right atrium, left atrial appendage, with the cardiothoracic ratio `ratio`."""
    ratio = anatomy.heart_width if ratio is None else ratio
    width = 2 * anatomy.cage_width * ratio
    base = (anatomy.right.dome + anatomy.left.dome) / 2
    shift = -3.0 * anatomy.yaw
    k = ratio / 0.46
    grow = k**0.8
    left_reach, right_reach = 0.665 * width, 0.335 * width
    a, b = 6.3 * grow, 4.5 * grow
    extent = float(np.hypot(a * np.cos(anatomy.heart_tilt), b * np.sin(anatomy.heart_tilt)))
    drop = float(np.hypot(a * np.sin(anatomy.heart_tilt), b * np.cos(anatomy.heart_tilt)))
    ventricle = Ellipsoid(
        left_reach - extent + shift, base + 1.5 - drop + 1.2 * k, -1.7, a, b, 6.6 * grow, anatomy.heart_tilt
    )
    atrium = Ellipsoid(
        -right_reach + 3.6 * grow + shift, base - 4.1 * grow, -1.8, 3.6 * grow, 4.9 * grow, 6.2 * grow, -0.12
    )
    upper = Ellipsoid(1.3 + shift, base - 8.0 * grow, -1.5, 2.9 * grow, 4.4 * grow, 5.0, -0.25)
    return [ventricle, atrium, upper]


def vessel_bodies(anatomy: Anatomy) -> list[Ellipsoid]:
    """The great vessels and the column of the mediastinum."""
    m, arch = anatomy.mediastinum, anatomy.aorta
    shift = -2.0 * anatomy.yaw
    knob = anatomy.right.apex + 8.6
    return [
        Ellipsoid(-1.0 * m + shift, knob + 0.5, -1.5, 1.6 * m, 8.5, 3.0),
        Ellipsoid(1.55 * m + shift, knob, 0.5, arch * 1.12, arch * 1.25, 2.6),
        Ellipsoid(2.0 * m + shift, knob + 3.3, -2.0, 1.9, 2.2, 2.4, 0.5),
        Ellipsoid(1.4 + 0.25 * arch, knob + 9.0, 4.5, 0.75 * arch, 9.2, 1.3, 0.02),
        Ellipsoid(-0.2, 9.0, -1.0, 1.9 * m, 8.5, 4.5),
        Ellipsoid(-0.1, 22.0, 5.0, 1.8 * m, 19.0, 3.2),
    ]


def airway_path(canvas: Canvas, anatomy: Anatomy) -> FloatArray:
    """Air in the trachea and main bronchi, cm."""
    air = canvas.zeros()
    carina = anatomy.right.apex + 10.6
    shift = -1.0 * anatomy.yaw
    trachea = smooth_curve([[0, -1], [0.05, 5], [-0.15 + shift, carina - 3], [-0.1 + shift, carina]], 12)
    add_tube(canvas, air, trachea, np.full(12, 0.82), np.full(12, 1.35))
    right = smooth_curve([[-0.3, carina - 0.3], [-1.5, carina + 1.3], [-3.0, carina + 2.8]], 8)
    left = smooth_curve([[0.2, carina - 0.3], [1.8, carina + 1.1], [3.9, carina + 2.3]], 8)
    for branch in (right, left):
        add_tube(canvas, air, branch, np.linspace(0.62, 0.45, 8), np.linspace(1.2, 0.7, 8))
    return air


def breast_path(canvas: Canvas, anatomy: Anatomy) -> FloatArray:
    """Breast shadows: a paraboloid whose lower fold is sharper than its upper slope, cm."""
    path = canvas.zeros()
    if anatomy.breast <= 0:
        return path
    reach = 6.0 + 0.55 * anatomy.breast
    for side in anatomy.sides:
        x0 = side.sign * (anatomy.cage_width * 0.66)
        y0 = side.dome - 2.8 + 0.6 * anatomy.breast
        window = canvas.box_window(x0, y0, reach * 1.5)
        if window is None:
            continue
        u = (canvas.x[window] - x0) / reach
        v = (canvas.y[window[0]] - y0) / reach
        v = np.where(v < 0, v / 1.5, v / 0.8)
        dome = np.maximum(1 - u * u - v * v, 0)
        path[window] += anatomy.breast * 1.2 * dome**0.8
    return path


def bubble_path(canvas: Canvas, anatomy: Anatomy, rng: np.random.Generator) -> FloatArray:
    """Gas under the left dome: the stomach's bubble with its fluid level, and at times the colon's."""
    gas = canvas.zeros()
    x, y = 6.2 + rng.normal(0, 0.6), anatomy.left.dome + 3.2 + rng.normal(0, 0.3)
    size = anatomy.bubble
    if size > 0.25:
        stomach = canvas.half_chord(Ellipsoid(x, y, 0, 3.0 * size**0.5, 1.5 * size**0.5 + 0.4, 1.9 * size, -0.15))
        if stomach is not None:
            window, half = stomach
            level = np.clip((y + 0.5 - canvas.y[window[0]]) / 0.2, 0, 1)
            gas[window] += 2 * half * level
    for _ in range(int(rng.integers(0, 4))):
        loop = canvas.half_chord(
            Ellipsoid(
                float(rng.uniform(2.5, 10.0)),
                y + float(rng.uniform(3.0, 6.0)),
                0,
                float(rng.uniform(0.8, 1.8)),
                float(rng.uniform(0.5, 1.0)),
                float(rng.uniform(0.4, 1.0)),
                float(rng.uniform(-0.8, 0.8)),
            )
        )
        if loop is not None:
            gas[loop[0]] += 2 * loop[1]
    return gas

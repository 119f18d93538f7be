"""The skeleton in a frontal radiograph: ribs as inclined rings, clavicles, scapulae, upper arms, spine."""

import numpy as np
from PIL import Image, ImageDraw

from ml.phantom.anatomy import Anatomy, Side
from ml.phantom.geometry import Canvas, FloatArray, add_tube, blur, smooth_curve


def bone_path(canvas: Canvas, anatomy: Anatomy, rng: np.random.Generator) -> FloatArray:
    """Path length through bone, in cm of compact bone."""
    bone = canvas.zeros()
    for side in anatomy.sides:
        for number in range(anatomy.ribs):
            _rib(canvas, anatomy, side, number, bone, rng)
        _clavicle(canvas, anatomy, side, bone)
        _scapula(canvas, anatomy, side, bone)
        _humerus(canvas, anatomy, side, bone)
    _spine(canvas, anatomy, bone, rng)
    return bone * np.float32(anatomy.bone)


def _rib(canvas: Canvas, anatomy: Anatomy, side: Side, number: int, bone: FloatArray, rng: np.random.Generator) -> None:
    """A rib lies in a plane that slopes forwards and down; its ring's back half is denser than its front half."""
    root = anatomy.top_rib + anatomy.rib_pitch * number + float(rng.normal(0, 0.06))
    slope = anatomy.rib_slope * (0.55 + 0.09 * min(number, 7))
    width, depth = 6.0, 6.0
    for _ in range(3):
        level = np.array([root + slope * depth], np.float32)
        width = float(anatomy.wall_at(side, level)[0]) + 0.25
        depth = float(anatomy.depth_at(side, level)[0]) + 0.4
    front = 2.45 - 0.06 * number if number < 9 else 2.75 - 0.12 * number
    slim = np.clip(rng.normal(1, 0.05), 0.85, 1.15)
    height = 0.62 + 0.05 * min(number, 4) + float(rng.normal(0, 0.02))
    for start, stop, gain in ((0.16, 1.60, 1.0), (1.54, front, 0.62)):
        theta = np.linspace(start, stop, 22)
        x = side.sign * width * np.sin(theta)
        z = -depth * np.cos(theta)
        y = root + slope * (z + depth) - 0.5 * np.sin(np.minimum(theta, 1.2) * 2.6) * (number > 0)
        turn = np.minimum(1 / np.maximum(np.abs(np.cos(theta)), 0.3), 1.9)
        fade = np.clip((front - theta) / 0.3, 0, 1)
        swell = 1 + 0.18 * (gain < 1)
        x = x + anatomy.yaw * z
        # A rib is taller than thick. Where it runs along the beam, the image shows its narrow edge.
        across = np.abs(np.gradient(x))
        flat = across / np.hypot(across, np.gradient(y))
        add_tube(
            canvas,
            bone,
            np.column_stack([x, y]),
            swell * float(slim) * np.hypot(height * flat, 0.36 * (1 - flat)),
            0.62 * gain * turn**0.8 * fade,
            hollow=0.84,
            marrow=0.68,
        )


def _clavicle(canvas: Canvas, anatomy: Anatomy, side: Side, bone: FloatArray) -> None:
    inner = side.apex + 3.5
    lift = side.clavicle_lift
    shift = -6 * anatomy.yaw
    s = side.sign
    curve = smooth_curve(
        [
            [s * 1.6 + shift, inner],
            [s * 4.5 + shift, inner - 0.15 * lift - 0.2],
            [s * 8.5 + shift / 2, inner - 0.75 * lift],
            [s * 12.0, inner - lift],
            [s * (anatomy.cage_width + 1.8), inner - lift + 0.1],
        ],
        26,
    )
    along = np.linspace(0, 1, 26)
    radius = 0.52 + 0.5 * np.clip(0.16 - along, 0, 1) * 4 - 0.08 * np.sin(np.pi * along) + 0.15 * along**3
    add_tube(canvas, bone, curve, radius, np.full(26, 1.3), hollow=0.78)


def _scapula(canvas: Canvas, anatomy: Anatomy, side: Side, bone: FloatArray) -> None:
    s = side.sign
    out = anatomy.cage_width + 1.0 + side.scapula_out
    top = side.apex + 2.6 + anatomy.shoulder * 0.5
    glenoid = [s * (out + 1.9), top + 2.6]
    inferior = [s * (out - 1.6), top + 13.0]
    superior = [s * (out - 5.0), top + 0.9]
    medial = [s * (out - 4.7), top + 5.0]
    outline = [superior, medial, [s * (out - 3.6), top + 9.5], inferior, [s * (out + 0.3), top + 8.0], glenoid]
    pixels = canvas.to_pixels(np.array(outline))
    mask = Image.new("L", (canvas.size, canvas.size))
    ImageDraw.Draw(mask).polygon([(float(px), float(py)) for px, py in pixels], fill=255)
    bone += blur(np.asarray(mask, np.float32), 0.12 * canvas.scale) * np.float32(0.22 / 255)
    borders: list[tuple[list[list[float]], float, float]] = [
        ([glenoid, [s * (out + 0.3), top + 8.0], inferior], 0.42, 0.5),
        ([inferior, [s * (out - 3.6), top + 9.5], medial, superior], 0.2, 0.26),
        ([medial, [s * (out - 1.5), top + 2.6], [s * (out + 2.0), top - 0.6], [s * (out + 3.9), top + 0.2]], 0.55, 0.5),
        ([superior, [s * (out - 1.5), top + 0.5], [s * (out + 0.6), top + 1.2]], 0.25, 0.3),
        ([[s * (out + 0.6), top + 1.8], [s * (out + 0.1), top + 0.6], [s * (out + 1.0), top + 0.9]], 0.5, 0.55),
    ]
    taper = np.clip(np.minimum(np.arange(14) + 1.5, 12.5 - np.arange(14)) / 6, 0.15, 1) ** 0.7
    for points, radius, weight in borders:
        curve = smooth_curve(points, 14)
        add_tube(canvas, bone, curve, radius * taper, 1.6 * weight * taper, hollow=0.7)


def _humerus(canvas: Canvas, anatomy: Anatomy, side: Side, bone: FloatArray) -> None:
    s = side.sign
    out = anatomy.cage_width + side.scapula_out
    head = np.array([s * (out + 4.2), side.apex + 5.4 + anatomy.shoulder * 0.5])
    reach = np.array([s * np.sin(side.arm_angle), np.cos(side.arm_angle)])
    points = [head - reach * 0.3, head + reach * 1.6, head + reach * 4.5, head + reach * 26]
    radius = np.array([2.1, 2.0, 1.25, 1.1])
    curve = smooth_curve([[*p, r] for p, r in zip(points, radius, strict=True)], 16)
    add_tube(canvas, bone, curve[:, :2], curve[:, 2], np.linspace(1.5, 1.4, 16), hollow=0.84, marrow=0.75)


def _spine(canvas: Canvas, anatomy: Anatomy, bone: FloatArray, rng: np.random.Generator) -> None:
    pitch = anatomy.rib_pitch
    first = anatomy.top_rib - 4 * pitch * 0.75
    level, y = 0, first
    while y < canvas.field + 2:
        neck = level < 4
        step = pitch * (0.75 if neck else 1.0)
        width = (1.15 if neck else 1.5 + 0.035 * min(level, 14)) * float(rng.normal(1, 0.02))
        _vertebra(canvas, 3.0 * anatomy.yaw, y, width, step, bone, neck=neck)
        y += step
        level += 1


def _vertebra(canvas: Canvas, x: float, y: float, width: float, step: float, bone: FloatArray, *, neck: bool) -> None:
    tall = step * 0.44
    window = canvas.box_window(x, y, max(width, tall) * 1.3)
    if window is not None:
        u = (canvas.x[window] - x) / (width * (1 + 0.12 * ((canvas.y[window[0]] - y) / tall) ** 2 - 0.06))
        v = (canvas.y[window[0]] - y) / tall
        outer = np.sqrt(np.maximum(1 - np.abs(u) ** 3 - v**4, 0))
        inner = np.sqrt(np.maximum(1 - np.abs(u / 0.9) ** 3 - (v / 0.84) ** 4, 0))
        bone[window] += 0.5 * outer - 0.34 * inner
    for s in (-1, 1):
        add_tube(
            canvas,
            bone,
            np.array([[x + s * width * 0.62, y - 0.28 * step], [x + s * width * 0.62, y - 0.1 * step]]),
            [0.3, 0.3],
            [0.45, 0.45],
            hollow=0.6,
        )
        if not neck:
            tip = [x + s * (width + 1.25), y - 0.42 * step]
            add_tube(
                canvas,
                bone,
                np.array([[x + s * width * 0.7, y - 0.2 * step], tip]),
                [0.42, 0.36],
                [0.36, 0.3],
                hollow=0.7,
            )
    add_tube(canvas, bone, np.array([[x, y + 0.1 * step], [x, y + 0.55 * step]]), [0.26, 0.34], [0.5, 0.55], hollow=0.5)

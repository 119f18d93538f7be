"""Generate a synthetic frontal chest radiograph: anatomy, line integrals, and a 12-bit image ready for display.

Attenuation follows the Beer-Lambert law along parallel rays (I = I0 exp(-sum mu*path)). Scatter, quantum noise and the
processing of a digital system (logarithm, local contrast, tone curve) follow. The result looks like a radiograph; it is
not a clinical simulation.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ml.phantom.anatomy import Anatomy, sample_anatomy
from ml.phantom.bones import bone_path
from ml.phantom.geometry import Canvas, FloatArray, blur
from ml.phantom.lesions import (
    Box,
    Tissue,
    heart_box,
    plant_effusion,
    plant_lump,
    plant_pneumothorax,
)
from ml.phantom.thorax import (
    LungField,
    airway_path,
    body_path,
    breast_path,
    bubble_path,
    carve,
    heart_bodies,
    lung_field,
    vessel_bodies,
)
from ml.phantom.vessels import vessel_path

FINDINGS = ("Cardiomegaly", "Effusion", "Mass", "Nodule", "Pneumothorax")
FULL_SCALE = 4095
SOFT_PER_CM = 0.20  # mu of water near 65 keV, the mean energy of a 120 kV chest beam
BONE_PER_CM = 0.36  # what compact bone attenuates beyond the soft tissue in its place


@dataclass(frozen=True)
class SyntheticImage:
    """`pixels` uint16 (size, size), 0..4095, MONOCHROME2; `boxes` in pixels (x, y, width, height) by NIH label."""

    pixels: NDArray[np.uint16]
    boxes: dict[str, Box]
    findings: tuple[str, ...]
    sex: str
    age: int
    seed: int
    spacing_mm: float


def generate(seed: int, size: int = 1024, findings: Sequence[str] = ()) -> SyntheticImage:
    """Generate an image of the patient with this `seed` and these `findings`, the same for the same arguments.

    seed: >= 0. size: rows and columns, 64..4096. findings: any of FINDINGS, each at most once; the order is free.
    Raises ValueError for an unknown finding, a repeated one, or a size out of range.
    """
    wanted = _checked(size, findings)
    streams = np.random.default_rng(seed).spawn(6)
    anatomy = sample_anatomy(streams[0])
    canvas = Canvas(size, anatomy.field_cm, anatomy.lean)
    fields = {side.sign: lung_field(canvas, anatomy, side) for side in anatomy.sides}
    tissue = Tissue({}, canvas.zeros())
    boxes = _plant(canvas, anatomy, fields, tissue, wanted, streams[1])
    depth = _optical_depth(canvas, anatomy, fields, tissue, streams)
    picture = _expose(canvas, depth, fields, streams[5])
    _mark(picture, streams[5])
    pixels = np.clip(picture * FULL_SCALE + 0.5, 0, FULL_SCALE).astype(np.uint16)
    return SyntheticImage(pixels, boxes, wanted, anatomy.sex, anatomy.age, seed, anatomy.field_cm * 10 / size)


def _checked(size: int, findings: Sequence[str]) -> tuple[str, ...]:
    if not 64 <= size <= 4096:
        raise ValueError(f"size must be from 64 to 4096, not {size}")
    unknown = sorted(set(findings) - set(FINDINGS))
    if unknown:
        raise ValueError(f"cannot plant {', '.join(unknown)}: choose from {', '.join(FINDINGS)}")
    if len(set(findings)) != len(findings):
        raise ValueError("name each finding once")
    return tuple(sorted(findings))


def _plant(
    canvas: Canvas,
    anatomy: Anatomy,
    fields: dict[int, LungField],
    tissue: Tissue,
    wanted: tuple[str, ...],
    rng: np.random.Generator,
) -> dict[str, Box]:
    """Place the organs, then the findings. Their sides are chosen so that findings do not hide each other."""
    wet = int(rng.choice([-1, 1]))
    boxes: dict[str, Box] = {}
    enlarged = float(rng.uniform(0.57, 0.66)) if "Cardiomegaly" in wanted else None
    heart = heart_bodies(anatomy, enlarged)
    carve(canvas, fields, heart + vessel_bodies(anatomy))
    if enlarged is not None:
        boxes["Cardiomegaly"] = heart_box(canvas, heart[:2])
    if "Effusion" in wanted:
        boxes["Effusion"] = plant_effusion(canvas, fields[wet], rng)
    if "Pneumothorax" in wanted:
        boxes["Pneumothorax"] = plant_pneumothorax(canvas, anatomy, fields[-wet], tissue, rng)
    if "Nodule" in wanted:
        boxes["Nodule"] = plant_lump(canvas, fields[wet], tissue, rng, float(rng.uniform(0.6, 1.4)))
    if "Mass" in wanted:
        boxes["Mass"] = plant_lump(canvas, fields[-wet], tissue, rng, float(rng.uniform(1.9, 3.6)))
    return boxes


def _optical_depth(
    canvas: Canvas,
    anatomy: Anatomy,
    fields: dict[int, LungField],
    tissue: Tissue,
    streams: list[np.random.Generator],
) -> FloatArray:
    """The sum of attenuation coefficient times path length along each ray (no unit)."""
    body = body_path(canvas, anatomy)
    bone = bone_path(canvas, anatomy, streams[2])
    vessels = vessel_path(canvas, anatomy, streams[3])
    soft = body + breast_path(canvas, anatomy)
    soft -= np.minimum(bubble_path(canvas, anatomy, streams[4]), 0.5 * body)
    soft -= np.minimum(airway_path(canvas, anatomy), 0.5 * body)
    grain = _parenchyma(canvas, streams[4])
    for sign, field in fields.items():
        columns = field.columns
        gas = tissue.free_gas.get(sign)
        lung = field.air if gas is None else field.air - gas
        density = anatomy.lung_density * (1.0 if gas is None else 1.25)
        soft[:, columns] -= lung * (1 - density * (1 + grain[:, columns]))
        if gas is not None:
            soft[:, columns] -= gas
        seen = np.clip((lung - 2.0) / 9.0, 0, 1)
        soft[:, columns] += np.minimum(vessels[:, columns] * seen, lung * 0.6)
    soft += tissue.solid
    return np.maximum(soft, 0) * np.float32(SOFT_PER_CM) + bone * np.float32(BONE_PER_CM)


def _parenchyma(canvas: Canvas, rng: np.random.Generator) -> FloatArray:
    """Fine texture of lung tissue, smaller than the drawn vessels, as a share of its density."""
    fine = blur(rng.standard_normal((canvas.size, canvas.size), np.float32), 0.07 * canvas.scale)
    coarse = blur(rng.standard_normal((canvas.size, canvas.size), np.float32), 0.35 * canvas.scale)
    return 0.035 * fine / fine.std() + 0.03 * coarse / coarse.std()


def _expose(canvas: Canvas, depth: FloatArray, fields: dict[int, LungField], rng: np.random.Generator) -> FloatArray:
    """Convert optical depth to grey 0..1: scatter, blur, quantum noise, logarithm, local contrast, tone curve."""
    primary = np.exp(-depth)
    scatter = blur(primary, 3.5 * canvas.scale)
    signal = blur(primary, 0.022 * canvas.scale) + float(rng.uniform(0.05, 0.11)) * scatter
    photons = float(rng.uniform(0.8e5, 2.5e5)) * (1024 / canvas.size) ** 2
    signal += np.sqrt(signal / photons) * rng.standard_normal(signal.shape, np.float32)
    image = -np.log(np.clip(signal, 1e-5, 0.995))
    image = image ** np.float32(rng.uniform(0.6, 0.75))
    image += float(rng.uniform(0.25, 0.6)) * (image - blur(image, 1.6 * canvas.scale))
    image += float(rng.uniform(0.1, 0.4)) * (image - blur(image, 0.15 * canvas.scale))
    thin = slice(None, None, 8)
    lungs = np.concatenate([image[:, f.columns][thin, thin][f.air[thin, thin] > 6] for f in fields.values()])
    dark = float(np.median(lungs))
    bright = float(np.percentile(image[thin, thin], 93))
    at_dark, at_bright = float(rng.uniform(0.28, 0.45)), float(rng.uniform(0.88, 0.94))
    lo, hi = np.log(at_dark / (1 - at_dark)), np.log(at_bright / (1 - at_bright))
    logit = lo + (image - dark) * np.float32((hi - lo) / max(bright - dark, 0.2))
    return (1 / (1 + np.exp(-logit))).astype(np.float32)


def _mark(picture: FloatArray, rng: np.random.Generator) -> None:
    """Draw a lead side marker as a radiographer places it: L at the patient's left, which is the right of the image."""
    size = picture.shape[0]
    height = max(size // 26, 8)
    tile = Image.new("L", (height * 2, height * 2))
    draw = ImageDraw.Draw(tile)
    draw.text((height * 0.6, height * 0.3), "L", fill=255, font=ImageFont.load_default(height))
    tile = tile.rotate(float(rng.uniform(-12, 12)), Image.Resampling.BICUBIC)
    glyph = np.asarray(tile, np.float32) / 255
    top, left = int(size * rng.uniform(0.03, 0.09)), int(size * rng.uniform(0.88, 0.91))
    part = picture[top : top + 2 * height, left : left + 2 * height]
    part += glyph[: part.shape[0], : part.shape[1]] * (0.97 - part)

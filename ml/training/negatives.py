"""Pictures that are no radiographs, drawn from random numbers: the input check refuses them."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Square = NDArray[np.uint8]


def _stretch(values: NDArray[np.float64]) -> Square:
    low, high = float(values.min()), float(values.max())
    return np.asarray((values - low) / max(high - low, 1e-9) * 255, dtype=np.uint8)


def blank(size: int, rng: np.random.Generator) -> Square:
    """An unexposed or saturated frame with a little noise."""
    noise = rng.normal(0, rng.uniform(0, 6), (size, size))
    return np.clip(rng.uniform(0, 255) + noise, 0, 255).astype(np.uint8)


def noise(size: int, rng: np.random.Generator) -> Square:
    """Noise with a power-law spectrum, from white to cloud-like; natural pictures lie between."""
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    frequency[0, 0] = 1.0
    spectrum = np.fft.rfft2(rng.normal(size=(size, size))) / frequency ** rng.uniform(0, 2.2)
    return _stretch(np.fft.irfft2(spectrum, (size, size)))


def waves(size: int, rng: np.random.Generator) -> Square:
    """Stripes, checks and gradients: test charts, screens, textiles."""
    y, x = np.mgrid[:size, :size] / size
    total = rng.uniform(-1, 1) * x + rng.uniform(-1, 1) * y
    for _ in range(rng.integers(0, 4)):
        wave = np.sin(2 * np.pi * (rng.normal(0, 12) * x + rng.normal(0, 12) * y) + rng.uniform(0, 7))
        total = total + (np.sign(wave) if rng.random() < 0.4 else wave)
    return _stretch(total)


def scene(size: int, rng: np.random.Generator) -> Square:
    """Overlapping shaded shapes with edges and shadows, like a photograph of things."""
    image = Image.fromarray(noise(size, rng)).filter(ImageFilter.GaussianBlur(rng.uniform(2, 20)))
    draw = ImageDraw.Draw(image)
    for _ in range(rng.integers(4, 40)):
        left, top = rng.uniform(-0.2, 1, 2) * size
        width, height = rng.uniform(0.02, 0.7, 2) * size
        box, grey = [left, top, left + width, top + height], int(rng.integers(0, 256))
        (draw.ellipse if rng.random() < 0.5 else draw.rectangle)(box, fill=grey)
    texture = noise(size, rng).astype(float) - 128
    return np.clip(np.asarray(image) + texture * rng.uniform(0, 0.4), 0, 255).astype(np.uint8)


def page(size: int, rng: np.random.Generator) -> Square:
    """A scanned page: rows of dark marks on light ground, or the reverse."""
    ground = int(rng.integers(180, 256))
    image = Image.new("L", (size, size), ground)
    draw = ImageDraw.Draw(image)
    step = int(rng.integers(6, 18))
    for top in range(step, size - step, step):
        left = int(rng.integers(4, 40))
        while left < size * rng.uniform(0.6, 1.0):
            width = int(rng.integers(3, 26))
            draw.rectangle([left, top, left + width, top + step // 2], fill=int(rng.integers(0, 90)))
            left += width + int(rng.integers(2, 7))
    values = np.asarray(image)
    return np.asarray(255 - values if rng.random() < 0.3 else values, dtype=np.uint8)


def section(size: int, rng: np.random.Generator) -> Square:
    """A bright round or long body on black: a slice, a limb, a phantom on a table."""
    y, x = (np.mgrid[:size, :size] / size - 0.5) * 2
    angle, total = rng.uniform(0, np.pi), np.zeros((size, size))
    for index in range(int(rng.integers(2, 12))):
        reach = 0.75 if index == 0 else rng.uniform(0.05, 0.5)
        cx, cy = (0, 0) if index == 0 else rng.uniform(-0.5, 0.5, 2)
        u = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
        v = -(x - cx) * np.sin(angle) + (y - cy) * np.cos(angle)
        inside = 1 - (u / reach) ** 2 - (v / (reach * rng.uniform(0.2, 1.0))) ** 2
        total += rng.uniform(0.4, 1.0) * (np.sqrt(np.maximum(inside, 0)) if rng.random() < 0.5 else inside > 0)
    grain = noise(size, rng).astype(float) / 255 * rng.uniform(0, 0.4)
    blurred = Image.fromarray(_stretch(total * (1 + grain))).filter(ImageFilter.GaussianBlur(rng.uniform(0, 2)))
    return np.asarray(blurred)


GENERATORS: tuple[Callable[[int, np.random.Generator], Square], ...] = (blank, noise, waves, scene, page, section)


def generated(size: int, count: int, seed: int) -> NDArray[np.uint8]:
    """`count` generated pictures uint8 (count, size, size), the kinds in turn, deterministic by seed."""
    rng = np.random.default_rng(seed)
    return np.stack([GENERATORS[i % len(GENERATORS)](size, rng) for i in range(count)])

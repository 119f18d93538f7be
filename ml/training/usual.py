"""Vary whole chest images as exposure, collimation, encoding and export vary them: the input check accepts them all."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

Square = NDArray[np.uint8]


def varied(images: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    """Images uint8 (N, S, S), each changed as it may come from another hospital; deterministic by seed."""
    rng = np.random.default_rng(seed)
    return np.stack([vary(np.asarray(image), rng) for image in images])


def vary(image: Square, rng: np.random.Generator) -> Square:
    """One image, with every change drawn on its own."""
    size = len(image)
    changed = Image.fromarray(_exposed(image, rng))
    if rng.random() < 0.5:
        changed = changed.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if rng.random() < 0.5:
        changed = _placed(changed, rng)
    if rng.random() < 0.5:
        changed = _framed(changed, rng)
    if rng.random() < 0.4:
        # An image of more pixels is sharper at this size than one of few.
        changed = changed.filter(ImageFilter.UnsharpMask(rng.uniform(0.5, 2), int(rng.uniform(20, 150)), 0))
    elif rng.random() < 0.3:
        changed = changed.filter(ImageFilter.GaussianBlur(size * rng.uniform(0, 0.002)))
    if rng.random() < 0.5:
        _mark(changed, rng)
    if rng.random() < 0.3:
        changed = _compressed(changed, rng)
    return np.asarray(changed)


def _exposed(image: Square, rng: np.random.Generator) -> Square:
    grey = (image.astype(np.float32) / 255) ** np.exp(rng.uniform(-0.5, 0.5))
    # Contrast about black, the middle or white.
    still = float(rng.choice([0.0, 0.5, 1.0]))
    grey = (grey - still) * rng.uniform(0.7, 1.35) + still + rng.uniform(-0.08, 0.08)
    if rng.random() < 0.3:
        grey += rng.normal(0, rng.uniform(0, 0.03), grey.shape)
    return np.clip(grey * 255, 0, 255).astype(np.uint8)


def _placed(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A little turned, and cut at the edges by up to a tenth of the side."""
    size = picture.width
    turned = picture.rotate(rng.uniform(-8, 8), Image.Resampling.BILINEAR)
    left, top, right, bottom = rng.uniform(0, 0.1, 4) * size
    return turned.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, size - right, size - bottom))


def _framed(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Within borders of collimation, or padded to a square on one axis."""
    size = picture.width
    if rng.random() < 0.5:
        edges = rng.uniform(0, 0.13, 4) * size
    else:
        edges = np.zeros(4)
        along = int(rng.integers(0, 2))
        edges[along], edges[along + 2] = rng.uniform(0, 0.15, 2) * size
    left, top, right, bottom = (int(edge) for edge in edges)
    framed = Image.new("L", (size, size), int(rng.choice([0, 0, 0, 0, 12, 255])))
    if rng.random() < 0.5:
        # Collimation covers the edges of the field; padding leaves the whole image.
        inside = picture.crop((left, top, size - right, size - bottom))
    else:
        inside = picture.resize((size - left - right, size - top - bottom), Image.Resampling.BILINEAR)
    framed.paste(inside, (left, top))
    return framed


def _mark(picture: Image.Image, rng: np.random.Generator) -> None:
    """Side marker, or lines of text in a corner, as devices burn them in."""
    size, draw = picture.width, ImageDraw.Draw(picture)
    height = int(rng.uniform(0.03, 0.06) * size)
    font = ImageFont.load_default(height)
    x = float(rng.choice([0.03, 0.75])) * size
    y = float(rng.choice([0.02, 0.75])) * size
    for line in ("R", "L", "AP PORTABLE", "12:40 ERECT", "SUPINE")[int(rng.integers(0, 4)) :][
        : int(rng.integers(1, 4))
    ]:
        draw.text((x, y), line, fill=int(rng.integers(200, 256)), font=font)
        y += height * 1.2


def _compressed(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=int(rng.integers(40, 95)))
    return Image.open(buffer).convert("L")

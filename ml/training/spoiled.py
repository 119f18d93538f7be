"""Spoil chest images: what the input check must refuse although a chest is in it.

Every function takes an image uint8 (S, S) and a generator and gives uint8 (S, S). Each draws its severity from a range
that begins where a radiologist would refuse to read the image; what lies between that and a usual image is drawn
nowhere, neither as good nor as bad.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from ml.training.screens import screenshot

Square = NDArray[np.uint8]
Spoiler = Callable[[Square, np.random.Generator], Square]

_FILLS = (0, 0, 0, 255, 128)
"""Grey values of empty space around an image: mostly black, as in scanners and viewers."""


def inverted(image: Square, rng: np.random.Generator) -> Square:
    """Bones dark: MONOCHROME1 read as MONOCHROME2."""
    return np.asarray(255 - image, dtype=np.uint8)


def turned(image: Square, rng: np.random.Generator) -> Square:
    """Lying on a side, upside down, or at any angle of 25 degrees or more; also mirrored at the horizontal axis."""
    kind = rng.random()
    if kind < 0.45:
        return np.ascontiguousarray(np.rot90(image, int(rng.integers(1, 4))))
    if kind < 0.55:
        return np.ascontiguousarray(image[::-1])
    return rotated(image, float(rng.uniform(25, 180) * rng.choice([-1, 1])), rng)


def rotated(image: Square, degrees: float, rng: np.random.Generator) -> Square:
    """Rotated about its centre; the corners are filled with one grey, or the image is enlarged until it has none."""
    size = len(image)
    picture = Image.fromarray(image)
    if rng.random() < 0.35:
        angle = np.radians(degrees)
        side = round(size * (abs(np.cos(angle)) + abs(np.sin(angle))))
        picture = picture.resize((side, side), Image.Resampling.BILINEAR)
    fill = int(rng.choice(_FILLS))
    turned_picture = picture.rotate(degrees, Image.Resampling.BILINEAR, fillcolor=fill)
    edge = (picture.width - size) // 2
    return np.asarray(turned_picture.crop((edge, edge, edge + size, edge + size)))


def part(image: Square, rng: np.random.Generator) -> Square:
    """A quarter or a half of the image, from anywhere in it, stretched to the square."""
    height, width = rng.uniform(0.35, 0.6, 2)
    if rng.random() < 0.6:
        # A half: one side stays nearly whole.
        whole = rng.uniform(0.9, 1.0)
        height, width = (height, whole) if rng.random() < 0.5 else (whole, width)
    # Half of the crops begin at an edge, as one does that is made by hand.
    top, left = (_place(1 - side, rng) for side in (height, width))
    return resized(image, (left, top, left + width, top + height))


def _place(room: float, rng: np.random.Generator) -> float:
    return float(rng.choice([0.0, room]) if rng.random() < 0.5 else rng.uniform(0, room))


def resized(image: Square, box: tuple[float, float, float, float]) -> Square:
    """The box (left, top, right, bottom, as shares of the sides) of an image, stretched to the image's size."""
    size = len(image)
    left, top, right, bottom = (share * size for share in box)
    return np.asarray(
        Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR, box=(left, top, right, bottom))
    )


def shuffled(image: Square, rng: np.random.Generator) -> Square:
    """Tiles of the image in another order: two halves, 2 x 2, up to 8 x 8."""
    rows, columns = 1, 1
    while rows * columns < 2:
        rows, columns = (int(n) for n in rng.choice([1, 1, 2, 2, 2, 3, 4, 5, 6, 8], 2))
    return tiled(image, rows, columns, rng)


def tiled(image: Square, rows: int, columns: int, rng: np.random.Generator) -> Square:
    """Tiles of the image in a random order in which at most a third stay in place."""
    size = len(image)
    height, width = size // rows, size // columns
    tiles = [
        image[r * height : (r + 1) * height, c * width : (c + 1) * width] for r in range(rows) for c in range(columns)
    ]
    order = rng.permutation(len(tiles))
    while np.mean(order == np.arange(len(tiles))) > 1 / 3:
        order = rng.permutation(len(tiles))
    joined = np.vstack([np.hstack([tiles[i] for i in order[r * columns : (r + 1) * columns]]) for r in range(rows)])
    return resized_to(joined, size)


def resized_to(image: Square, size: int) -> Square:
    """An image stretched to (size, size)."""
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))


def shrunk(image: Square, rng: np.random.Generator) -> Square:
    """The image at a third to 0.6 of its size on an even ground, in the middle or anywhere."""
    size = len(image)
    side = round(size * rng.uniform(0.33, 0.6))
    ground = np.full((size, size), int(rng.choice(_FILLS)), np.uint8)
    if rng.random() < 0.3:
        ground = np.clip(ground + rng.normal(15, rng.uniform(1, 15), ground.shape), 0, 255).astype(np.uint8)
    room = size - side
    top, left = (room // 2, room // 2) if rng.random() < 0.5 else (int(v) for v in rng.integers(0, room + 1, 2))
    ground[top : top + side, left : left + side] = resized_to(image, side)
    return ground


def blurred(image: Square, rng: np.random.Generator) -> Square:
    """Out of focus, moved, or enlarged from few pixels, until vessels and ribs can no longer be seen."""
    size, picture = len(image), Image.fromarray(image)
    kind = rng.random()
    if kind < 0.6:
        return np.asarray(picture.filter(ImageFilter.GaussianBlur(size * float(np.exp(rng.uniform(-4.4, -2.5))))))
    if kind < 0.8:
        return np.asarray(picture.filter(ImageFilter.BoxBlur(size * float(np.exp(rng.uniform(-4.0, -2.3))))))
    side = int(rng.uniform(12, 48))
    few = picture.resize((side, side), Image.Resampling.BOX)
    method = Image.Resampling.NEAREST if rng.random() < 0.3 else Image.Resampling.BICUBIC
    return np.asarray(few.resize((size, size), method))


def saturated(image: Square, rng: np.random.Generator) -> Square:
    """A window so narrow or so misplaced that most grey values become black or white, or nearly so."""
    if rng.random() < 0.2:
        power = float(np.exp(rng.uniform(1.1, 1.9) * rng.choice([-1, 1])))
        return np.asarray(255 * (image / np.float32(255)) ** power, dtype=np.uint8)
    # Of the pixels at most two fifths keep their grey; the others are black, white or both.
    kept = float(rng.uniform(0.03, 0.4))
    darker = float(rng.choice([0.0, 1.0])) if rng.random() < 0.5 else float(rng.uniform())
    low, high = np.quantile(image, [darker * (1 - kept), darker * (1 - kept) + kept])
    if high - low < 4:
        low, high = float(np.median(image)) - 2, float(np.median(image)) + 2
    return np.clip((image.astype(np.float32) - low) / (high - low) * 255, 0, 255).astype(np.uint8)


SPOILED: dict[str, Spoiler] = {
    "inverted": inverted,
    "turned": turned,
    "part": part,
    "shuffled": shuffled,
    "shrunk": shrunk,
    "screenshot": screenshot,
    "blurred": blurred,
    "saturated": saturated,
}
"""What goes wrong with real chest images; a left-right mirror is not among them, for it can't be known from pixels."""


def spoiled(images: NDArray[np.uint8], kind: str, seed: int) -> NDArray[np.uint8]:
    """Images uint8 (N, S, S), each spoiled in the way `kind`, a key of SPOILED; deterministic by seed."""
    rng = np.random.default_rng([seed, list(SPOILED).index(kind)])
    return np.stack([SPOILED[kind](np.asarray(image), rng) for image in images])

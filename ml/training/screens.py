"""Screenshots: an image in a viewer or another program, with frames, toolbars and text around it."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Square = NDArray[np.uint8]
Region = tuple[int, int, int, int]

_LETTERS = "ABCDEFGHIJKLMNOPRSTUVWabcdefghiklmnoprstuvwyz0123456789     -:./"
_LEAST = 0.35
"""The image keeps at least this share of each side of the screen."""


def screenshot(image: Square, rng: np.random.Generator) -> Square:
    """The image in a window that takes up 35 to 90 % of each side: bars, lists, buttons and text around it."""
    size = len(image)
    dark = rng.random() < 0.6
    ground = int(rng.integers(10, 90) if dark else rng.integers(190, 256))
    screen = Image.new("L", (size, size), ground)
    draw = ImageDraw.Draw(screen)
    room = _bars(draw, size, dark, ground, rng)
    views = 1 if rng.random() < 0.75 else int(rng.integers(2, 4))
    _views(screen, image, room, views, rng)
    if rng.random() < 0.5:
        # Text over the image, as viewers show patient and window.
        _text(draw, (room[0] + 3, room[1] + 2, room[0] + (room[2] - room[0]) // 3, room[1] + size // 8), 255, rng)
    if rng.random() < 0.3:
        _window(draw, size, rng)
    return np.asarray(screen)


def _bars(draw: ImageDraw.ImageDraw, size: int, dark: bool, ground: int, rng: np.random.Generator) -> Region:
    """Draw bars at the edges; gives what is left of the screen."""
    left, top, right, bottom = 0, 0, size, size
    ink = int(rng.integers(150, 256) if dark else rng.integers(0, 90))
    for _ in range(int(rng.integers(1, 4))):
        height = int(size * rng.uniform(0.035, 0.1))
        _bar(draw, (0, top, size, top + height), ground, ink, rng)
        top += height
    if rng.random() < 0.5:
        height = int(size * rng.uniform(0.03, 0.08))
        bottom -= height
        _bar(draw, (0, bottom, size, size), ground, ink, rng)
    for side in rng.permutation(2)[: int(rng.integers(0, 3))]:
        width = int(size * rng.uniform(0.06, 0.3))
        if right - left - width < _LEAST * size:
            continue
        box = (left, top, left + width, bottom) if side else (right - width, top, right, bottom)
        left, right = (left + width, right) if side else (left, right - width)
        _bar(draw, box, ground, ink, rng)
    return left, top, right, bottom


def _bar(draw: ImageDraw.ImageDraw, box: Region, ground: int, ink: int, rng: np.random.Generator) -> None:
    """A bar with buttons, with text, or with both."""
    shade = int(np.clip(ground + rng.integers(-30, 31), 0, 255))
    draw.rectangle(box, fill=shade, outline=int(np.clip(shade + rng.integers(-60, 61), 0, 255)))
    if rng.random() < 0.6:
        _buttons(draw, box, ink, rng)
    if rng.random() < 0.7:
        _text(draw, box, ink, rng)


def _buttons(draw: ImageDraw.ImageDraw, box: Region, ink: int, rng: np.random.Generator) -> None:
    left, top, right, bottom = box
    side = max(4, int(min(right - left, bottom - top) * rng.uniform(0.35, 0.7)))
    across = right - left > bottom - top
    start, end, step = (left if across else top) + 4, right if across else bottom, int(side * rng.uniform(1.2, 2.5))
    for place in range(start, max(start, end - side), step):
        x, y = (place, (top + bottom - side) // 2) if across else ((left + right - side) // 2, place)
        shape = draw.ellipse if rng.random() < 0.3 else draw.rectangle
        shape((x, y, x + side, y + side), outline=ink, fill=ink if rng.random() < 0.4 else None)


def _text(draw: ImageDraw.ImageDraw, box: Region, ink: int, rng: np.random.Generator) -> None:
    left, top, right, bottom = box
    height = int(rng.integers(7, 14))
    font = ImageFont.load_default(height)
    for y in range(top + 1, max(top + 2, bottom - height), int(height * rng.uniform(1.2, 2.2))):
        length = int((right - left) * rng.uniform(0.2, 0.9) / (height * 0.55))
        line = "".join(_LETTERS[i] for i in rng.integers(0, len(_LETTERS), max(2, length)))
        draw.text((left + 4, y), line, fill=ink, font=font)


def _views(screen: Image.Image, image: Square, room: Region, views: int, rng: np.random.Generator) -> None:
    """Paste the image once or several times side by side, in its proportions or filling its place."""
    left, top, right, bottom = room
    picture = Image.fromarray(image)
    width = (right - left) // views
    for number in range(views):
        wide, high = width - 2, bottom - top - 2
        if rng.random() < 0.6:
            wide = high = min(wide, high)
        x = left + number * width + (width - wide) // 2
        y = top + (bottom - top - high) // 2
        ground = (left + number * width, top, left + (number + 1) * width - 2, bottom)
        screen.paste(0 if rng.random() < 0.7 else 60, ground)
        screen.paste(picture.resize((max(wide, 8), max(high, 8)), Image.Resampling.BILINEAR), (x, y))


def _window(draw: ImageDraw.ImageDraw, size: int, rng: np.random.Generator) -> None:
    """A dialogue in front of everything."""
    width, height = (int(size * share) for share in rng.uniform(0.2, 0.5, 2))
    x, y = (int(rng.integers(0, size - side)) for side in (width, height))
    ground = int(rng.integers(180, 256))
    draw.rectangle((x, y, x + width, y + height), fill=ground, outline=40)
    draw.rectangle((x, y, x + width, y + size // 24), fill=int(rng.integers(30, 150)))
    _text(draw, (x + 3, y + size // 20, x + width, y + height), 20, rng)

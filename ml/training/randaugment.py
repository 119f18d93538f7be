"""RandAugment (Cubuk et al. 2020) on a batch of grey images: the operations of timm that leave a radiograph one.

Without inversion and solarisation: an inverted image is what the input check refuses.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

MOST_OPERATIONS = 4
_DRAWS_EACH = 3
RAND_DRAWS = MOST_OPERATIONS * _DRAWS_EACH
"""Random numbers per image: for each operation which one, its direction, and how its magnitude varies."""

Operation = Callable[[Tensor, Tensor], Tensor]


def randaugment(grey: Tensor, operations: int, magnitude: float, draws: Tensor) -> Tensor:
    """Apply up to `operations` (at most 4) one after the other, each with probability 1/2, to (N, 1, H, W) in [0, 1].

    `draws` (N, RAND_DRAWS), uniform in [0, 1), on the CPU, so that a GPU need not be waited for. `magnitude` is within
    0 and 10, and varies by one half.
    """
    result = grey.clone()
    for number in range(min(operations, MOST_OPERATIONS)):
        which, side, vary = draws[:, number * _DRAWS_EACH : (number + 1) * _DRAWS_EACH].unbind(1)
        chosen = (which * 2 * len(OPERATIONS)).long()
        level = ((magnitude + vary - 0.5) / 10).clamp(0, 1) * torch.where(side < 0.5, -1.0, 1.0)
        for index, operation in enumerate(OPERATIONS):
            rows = (chosen == index).nonzero()[:, 0]
            if len(rows):
                on_device = rows.to(grey.device)
                values = level[rows].to(grey.device)[:, None, None, None]
                result[on_device] = operation(result[on_device], values).clamp(0, 1)
    return result


def _sampled(grey: Tensor, rows: list[Tensor]) -> Tensor:
    """Resample by the affine map whose six numbers are `rows`."""
    matrix = torch.stack(rows, dim=1).view(-1, 2, 3)
    grid = functional.affine_grid(matrix, list(grey.shape), align_corners=False)
    return functional.grid_sample(grey, grid, padding_mode="border", align_corners=False)


def _rotate(grey: Tensor, level: Tensor) -> Tensor:
    angle = level.flatten() * math.radians(30)
    cosine, sine, zero = torch.cos(angle), torch.sin(angle), torch.zeros_like(angle)
    return _sampled(grey, [cosine, -sine, zero, sine, cosine, zero])


def _shear_x(grey: Tensor, level: Tensor) -> Tensor:
    one, zero = torch.ones_like(level.flatten()), torch.zeros_like(level.flatten())
    return _sampled(grey, [one, 0.3 * level.flatten(), zero, zero, one, zero])


def _shear_y(grey: Tensor, level: Tensor) -> Tensor:
    one, zero = torch.ones_like(level.flatten()), torch.zeros_like(level.flatten())
    return _sampled(grey, [one, zero, zero, 0.3 * level.flatten(), one, zero])


def _shift_x(grey: Tensor, level: Tensor) -> Tensor:
    one, zero = torch.ones_like(level.flatten()), torch.zeros_like(level.flatten())
    return _sampled(grey, [one, zero, 0.45 * level.flatten(), zero, one, zero])


def _shift_y(grey: Tensor, level: Tensor) -> Tensor:
    one, zero = torch.ones_like(level.flatten()), torch.zeros_like(level.flatten())
    return _sampled(grey, [one, zero, zero, zero, one, 0.45 * level.flatten()])


def _contrast(grey: Tensor, level: Tensor) -> Tensor:
    middle = grey.mean(dim=(2, 3), keepdim=True)
    return middle + (grey - middle) * (1 + 0.9 * level)


def _brightness(grey: Tensor, level: Tensor) -> Tensor:
    return grey * (1 + 0.9 * level)


def _sharpness(grey: Tensor, level: Tensor) -> Tensor:
    smooth = functional.avg_pool2d(functional.pad(grey, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    return smooth + (grey - smooth) * (1 + 0.9 * level)


def _stretch(grey: Tensor, level: Tensor) -> Tensor:
    """Autocontrast: the darkest pixel becomes 0, the brightest 1."""
    low, high = grey.amin(dim=(2, 3), keepdim=True), grey.amax(dim=(2, 3), keepdim=True)
    return (grey - low) / (high - low).clamp(min=1 / 255)


def _equalize(grey: Tensor, level: Tensor) -> Tensor:
    """Histogram equalisation: each pixel becomes its rank among those of its image."""
    flat = (grey * 255).round().long().flatten(1)
    counts = torch.zeros(len(flat), 256, device=grey.device).scatter_add_(
        1, flat, torch.ones_like(flat, dtype=grey.dtype)
    )
    shares = counts.cumsum(1) / flat.shape[1]
    return shares.gather(1, flat).view_as(grey)


def _posterize(grey: Tensor, level: Tensor) -> Tensor:
    """Fewer grey levels: from 256 down to 16."""
    levels = 2 ** (8 - (4 * level.abs()).round())
    return (grey * levels).floor().clamp(max=levels - 1) / (levels - 1)


OPERATIONS: tuple[Operation, ...] = (
    _rotate, _shear_x, _shear_y, _shift_x, _shift_y,
    _contrast, _brightness, _sharpness, _stretch, _equalize, _posterize,
)  # fmt: skip

"""Augmentation on tensors, so that one core keeps up with a GPU: geometry in one resampling, then exposure."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Augmentation:
    """Ranges; the defaults are those of the DenseNet121 recipes on ChestX-ray14 (crop, flip, small rotation)."""

    min_area: float = 0.6
    degrees: float = 10.0
    flip: float = 0.5
    gamma: float = 0.25
    contrast: float = 0.2
    brightness: float = 0.1


def augment(grey: Tensor, size: int, ranges: Augmentation, generator: torch.Generator) -> Tensor:
    """Float (N, 1, H, W) in [0, 1] on the CPU's random stream -> augmented (N, 1, size, size) on the same device."""
    moved = functional.grid_sample(
        grey,
        functional.affine_grid(
            _affine(len(grey), ranges, generator).to(grey.device), [len(grey), 1, size, size], align_corners=False
        ),
        padding_mode="border",
        align_corners=False,
    ).clamp(0, 1)
    gamma = torch.exp(_uniform(len(grey), ranges.gamma, generator)).to(grey.device)
    contrast = (1 + _uniform(len(grey), ranges.contrast, generator)).to(grey.device)
    brightness = _uniform(len(grey), ranges.brightness, generator).to(grey.device)
    return ((moved**gamma - 0.5) * contrast + 0.5 + brightness).clamp(0, 1)


def _uniform(count: int, reach: float, generator: torch.Generator) -> Tensor:
    return (torch.rand(count, 1, 1, 1, generator=generator) * 2 - 1) * reach


def _affine(count: int, ranges: Augmentation, generator: torch.Generator) -> Tensor:
    side = torch.sqrt(torch.empty(count).uniform_(ranges.min_area, 1.0, generator=generator))
    angle = _uniform(count, math.radians(ranges.degrees), generator).flatten()
    mirror = torch.where(torch.rand(count, generator=generator) < ranges.flip, -1.0, 1.0)
    cosine, sine = torch.cos(angle) * side, torch.sin(angle) * side
    shift = (torch.rand(count, 2, generator=generator) * 2 - 1) * (1 - side)[:, None]
    rows = torch.stack([cosine * mirror, -sine, shift[:, 0], sine * mirror, cosine, shift[:, 1]], dim=1)
    return rows.view(count, 2, 3)

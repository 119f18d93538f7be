"""Augmentation on tensors, fast enough for a GPU: one resampling for the geometry, then exposure."""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ml.training.config import Augmentation
from ml.training.randaugment import RAND_DRAWS, randaugment

DRAWS = 9 + RAND_DRAWS
"""Random numbers per image: area, angle, mirror, two shifts, gamma, contrast, brightness, ratio of the sides; then
those of RandAugment."""


def augment(grey: Tensor, size: int, ranges: Augmentation, draws: Tensor) -> Tensor:
    """Float (N, 1, H, W) in [0, 1] -> augmented (N, 1, size, size) on the same device.

    `draws` (N, DRAWS), uniform in [0, 1), decide everything: the same image with the same draws gives the same
    result in any batch and on any rank.
    """
    chances = draws[:, 9:]
    draws = draws.to(grey.device)
    resampled = functional.grid_sample(
        grey,
        functional.affine_grid(_affine(draws, ranges), [len(grey), 1, size, size], align_corners=False),
        padding_mode="border",
        align_corners=False,
    ).clamp(0, 1)
    gamma, contrast, brightness = ((draws[:, 5:8] * 2 - 1)[:, :, None, None, None]).unbind(dim=1)
    exposed = (resampled ** torch.exp(gamma * ranges.gamma) - 0.5) * (1 + contrast * ranges.contrast)
    exposed = (exposed + 0.5 + brightness * ranges.brightness).clamp(0, 1)
    return randaugment(exposed, ranges.operations, ranges.magnitude, chances) if ranges.operations else exposed


def mixed(grey: Tensor, truth: Tensor, alpha: float, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Mix each image (N, 1, H, W), and its truth (N, L; NaN unknown), with the one at the mirrored place of the batch.

    The image itself keeps at least half. Where the other's truth is unknown, its own counts alone, so that as many
    entries as before are known.
    """
    shares = rng.beta(alpha, alpha, len(grey)).astype(np.float32)
    own = torch.from_numpy(np.maximum(shares, 1 - shares)).to(grey.device)
    other = truth.flip(0)
    both = own[:, None] * truth + (1 - own[:, None]) * other
    weight = own[:, None, None, None]
    return weight * grey + (1 - weight) * grey.flip(0), torch.where(torch.isfinite(other), both, truth)


def _affine(draws: Tensor, ranges: Augmentation) -> Tensor:
    side = torch.sqrt(ranges.min_area + (1 - ranges.min_area) * draws[:, 0])
    stretch = torch.exp((draws[:, 8] - 0.5) * math.log1p(ranges.aspect))
    # A crop that is wider than the image would show the border's pixels again.
    width, height = (side * stretch).clamp(max=1), (side / stretch).clamp(max=1)
    angle = (draws[:, 1] * 2 - 1) * math.radians(ranges.degrees)
    mirror = torch.where(draws[:, 2] < ranges.flip, -1.0, 1.0)
    cosine, sine = torch.cos(angle), torch.sin(angle)
    across, down = (draws[:, 3] * 2 - 1) * (1 - width), (draws[:, 4] * 2 - 1) * (1 - height)
    rows = torch.stack(
        [cosine * mirror * width, -sine * height, across, sine * mirror * width, cosine * height, down], dim=1
    )
    return rows.view(len(draws), 2, 3)

"""Bring maps and images to another grid by areas, so that their mean stays the same."""

import torch
from torch import Tensor


def overlap(cells: int, targets: int, like: Tensor) -> Tensor:
    """Weights (targets, cells): the share of each target that each cell fills, where both divide the same length.

    Device and type are those of `like`. `weights @ values` averages where it shrinks, and repeats where it enlarges.
    """
    # In units of 1 / (cells * targets) all edges are whole numbers, and small enough to be exact in float32.
    starts = torch.arange(targets, device=like.device, dtype=torch.float32)[:, None] * cells
    others = torch.arange(cells, device=like.device, dtype=torch.float32)[None] * targets
    shared = torch.minimum(starts + cells, others + targets) - torch.maximum(starts, others)
    return (shared.clamp(min=0) / cells).to(like.dtype)

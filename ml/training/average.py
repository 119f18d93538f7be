"""The average of the weights over the training (Polyak; with batch-norm statistics, as evaluation needs them)."""

import copy

import torch
from torch import Tensor, nn

from ml.model.networks import CamNetwork


class Average:
    """A copy of the network whose weights are a moving average of the network's."""

    def __init__(self, network: CamNetwork) -> None:
        self.network = copy.deepcopy(network).eval()
        for parameter in self.network.parameters():
            parameter.requires_grad_(False)
        self._kept = list(self.network.state_dict().values())
        self._new = list(network.state_dict().values())

    @torch.no_grad()
    def follow(self, decay: float, step: int) -> None:
        """Update after a step, keeping `decay` of the average; early on less, so that bad first weights are lost."""
        weight = 1 - min(decay, (1 + step) / (10 + step))
        floating = [(kept, new) for kept, new in zip(self._kept, self._new, strict=True) if kept.is_floating_point()]
        torch._foreach_lerp_([kept for kept, _ in floating], [new.detach() for _, new in floating], weight)
        for kept, new in zip(self._kept, self._new, strict=True):
            if not kept.is_floating_point():
                kept.copy_(new)


def statistics(network: nn.Module) -> list[Tensor]:
    """The floating buffers: batch-norm means and variances, which each rank measures on its own images."""
    return [buffer for buffer in network.buffers() if buffer.is_floating_point()]

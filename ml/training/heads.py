"""Regularised linear heads on frozen features: convex, exact, seconds on a CPU."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

FLOOR = 1e-3
"""Added to each feature's standard deviation: a feature that never varies must not be blown up."""


@dataclass(frozen=True, eq=False)
class LinearHead:
    """weight (L, C) and bias (L,) on raw features."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]

    def __call__(self, features: NDArray[Any]) -> NDArray[np.float32]:
        """Logits (N, L) of features (N, C)."""
        return np.asarray(features @ self.weight.T + self.bias, dtype=np.float32)


def fit_heads(
    features: NDArray[Any],
    truth: NDArray[Any],
    l2: float,
    balanced: bool = False,
    weights: NDArray[Any] | None = None,
) -> LinearHead:
    """Logistic regression per label with penalty l2/2 |w|^2 on standardised features; BCE is a mean over images.

    features (N, C), truth (N, L). `balanced` gives both classes half of the weight; `weights` (N,), of mean 1, count
    some images more than others. The standardisation is folded into the returned weights, so they act on raw pooled
    features.
    """
    raw = np.asarray(features, dtype=np.float32)
    mean, deviation = raw.mean(axis=0), raw.std(axis=0) + FLOOR
    x = torch.from_numpy((raw - mean) / deviation)
    y = torch.from_numpy(np.asarray(truth, dtype=np.float32))
    rate = y.mean(dim=0).clamp(1e-3, 1 - 1e-3)
    film_weight = y / (2 * rate) + (1 - y) / (2 * (1 - rate)) if balanced else torch.ones_like(y)
    weight = torch.zeros(x.shape[1], y.shape[1], requires_grad=True)
    bias = torch.logit(torch.full_like(rate, 0.5) if balanced else rate).requires_grad_()
    if weights is not None:
        film_weight = film_weight * torch.from_numpy(np.asarray(weights, dtype=np.float32))[:, None]
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=150, history_size=10, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = functional.binary_cross_entropy_with_logits(x @ weight + bias, y, film_weight, reduction="none")
        total = loss.mean(dim=0).sum() + l2 / 2 * (weight**2).sum()
        total.backward()  # type: ignore[no-untyped-call]
        return total

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    folded = weight.detach().numpy() / deviation[:, None]
    return LinearHead(np.ascontiguousarray(folded.T), np.asarray(bias.detach().numpy() - mean @ folded))

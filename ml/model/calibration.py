"""Platt scaling: probability = sigmoid(a * logit + b), two numbers per label and model version.

Platt 1999, with the regularised targets and the Newton iteration of Lin, Lin and Weng 2007.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Platt:
    """Slope and offset on the logit; the identity is a=1, b=0."""

    a: float = 1.0
    b: float = 0.0


def sigmoid(values: NDArray[Any]) -> NDArray[np.float64]:
    """Logistic function without overflow, float64, same shape."""
    values = np.asarray(values, dtype=np.float64)
    small = np.exp(-np.abs(values))
    return np.where(values >= 0, 1.0 / (1.0 + small), small / (1.0 + small))


def logit(probabilities: NDArray[Any] | float) -> NDArray[np.float64]:
    """Inverse of `sigmoid` for probabilities inside (0, 1), same shape."""
    p = np.asarray(probabilities, dtype=np.float64)
    return np.asarray(np.log(p) - np.log1p(-p))


def fit_platt(logits: NDArray[Any], truth: NDArray[Any], iterations: int = 100) -> Platt:
    """Fit one label's Platt parameters on held-out logits (N,) and truth (N,) of 0, 1 or NaN (unknown, left out).

    The slope stays positive, so calibration never reverses a ranking.

    Raises:
        ValueError: the truth lacks one of the two classes, or the arrays do not fit.
    """
    x = np.asarray(logits, dtype=np.float64)
    wanted = np.asarray(truth, dtype=np.float64)
    if x.shape != wanted.shape or x.ndim != 1 or not np.isfinite(x).all():
        raise ValueError("Platt scaling needs finite logits and truth of the same length.")
    known = ~np.isnan(wanted)
    x, y = x[known], wanted[known] > 0
    positives, negatives = int(y.sum()), int((~y).sum())
    if positives == 0 or negatives == 0:
        raise ValueError("Platt scaling needs films with and without the finding.")
    target = np.where(y, (positives + 1.0) / (positives + 2.0), 1.0 / (negatives + 2.0))
    design = np.stack([x, np.ones_like(x)], axis=1)
    parameters = np.array([0.0, np.log((positives + 1.0) / (negatives + 1.0))])
    loss = _loss(design, parameters, target)
    for _ in range(iterations):
        p = sigmoid(design @ parameters)
        gradient = design.T @ (p - target)
        if np.abs(gradient).max() < 1e-9 * len(x):
            break
        hessian = (design * (p * (1 - p))[:, None]).T @ design + 1e-12 * np.eye(2)
        step, length = np.linalg.solve(hessian, gradient), 1.0
        while length > 1e-10 and _loss(design, parameters - length * step, target) > loss:
            length /= 2.0
        parameters = parameters - length * step
        loss = _loss(design, parameters, target)
    if parameters[0] <= 0:
        return Platt(1e-3, float(np.log((positives + 1.0) / (negatives + 1.0))))
    return Platt(float(parameters[0]), float(parameters[1]))


def _loss(design: NDArray[np.float64], parameters: NDArray[np.float64], target: NDArray[np.float64]) -> float:
    z = design @ parameters
    return float(np.sum(np.logaddexp(0.0, z) - target * z))


def calibrate(logits: NDArray[Any], labels: Sequence[str], parameters: Mapping[str, Platt]) -> NDArray[np.float64]:
    """Logits (N, L) -> probabilities (N, L) in [0, 1]; a label without parameters keeps the plain sigmoid."""
    fits = [parameters.get(label, Platt()) for label in labels]
    a = np.array([f.a for f in fits])
    b = np.array([f.b for f in fits])
    return sigmoid(np.asarray(logits, dtype=np.float64) * a + b)


@dataclass(frozen=True)
class AbnormalScore:
    """The probability that an image has any finding, with its operating point.

    It is sigmoid(a * logit(1 - prod(1 - p)) + b) over the calibrated probabilities p of all labels. The product alone
    takes the findings for independent, so it is too high; `a` and `b` correct it.
    """

    a: float
    b: float
    threshold: float

    def probability(self, probabilities: NDArray[Any]) -> NDArray[np.float64]:
        """Calibrated probabilities of the findings (N, L) -> probability of any finding (N,), in [0, 1]."""
        return sigmoid(self.a * any_finding_logit(probabilities) + self.b)


def any_finding_logit(probabilities: NDArray[Any]) -> NDArray[np.float64]:
    """logit(1 - prod(1 - p)) over probabilities p (N, L), finite also where a p is 0 or 1; (N,)."""
    p = np.clip(np.asarray(probabilities, dtype=np.float64), 1e-9, 1.0 - 1e-9)
    none = np.log1p(-p).sum(axis=1)
    return np.asarray(np.log(-np.expm1(none)) - none)

"""Probabilities of one hospital: another prevalence than the version's, or a fit on its own reviewed studies.

Both are a slope and an offset on the logit of the version's calibrated probability, so they never reorder studies.
A threshold that is moved by the same numbers flags the same studies.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.metrics import calibration_error
from ml.model.calibration import Platt, fit_platt, sigmoid

# Floats cannot tell 1 - 1e-17 from 1, so a probability of exactly 0 or 1 counts as this close to it.
_CLOSEST = 1e-15
FOLDS = 5
_BINS = 10


def logit(probability: float) -> float:
    """The log odds of a probability in [0, 1]; finite also for 0 and 1."""
    value = min(max(probability, _CLOSEST), 1.0 - _CLOSEST)
    return math.log(value / (1.0 - value))


def prior_shift(own: float, declared: float) -> Platt:
    """The offset that moves probabilities from one prevalence to another: the log odds ratio (Saerens 2002).

    It holds where the finding looks alike in both places and only its frequency differs.

    Raises:
        ValueError: a prevalence is not inside (0, 1).
    """
    if not (0.0 < own < 1.0 and 0.0 < declared < 1.0):
        raise ValueError("A prevalence must lie between 0 and 1.")
    return Platt(1.0, logit(declared) - logit(own))


def remap(probability: float, fit: Platt) -> float:
    """The version's calibrated probability (0 to 1) on the hospital's scale."""
    value = fit.a * logit(probability) + fit.b
    return 1.0 / (1.0 + math.exp(-value)) if value >= 0 else math.exp(value) / (1.0 + math.exp(value))


def unmap(probability: float, fit: Platt) -> float:
    """The inverse of `remap`."""
    return remap(probability, Platt(1.0 / fit.a, -fit.b / fit.a))


@dataclass(frozen=True)
class LocalFit:
    """A fit on reviewed studies; the calibration errors before and after are of films that the fit had not seen."""

    platt: Platt
    error_before: float
    error_after: float


def fit_local(probabilities: Sequence[float], present: Sequence[bool], patients: Sequence[Any]) -> LocalFit:
    """Platt scaling of one finding on the version's calibrated probabilities (N,), each 0 to 1.

    Args:
        present: the reader's verdict on each.
        patients: whose film it is; a patient's films stay in one of `FOLDS` folds.

    Raises:
        ValueError: all verdicts are alike, also within the films of one fit.
    """
    logits = np.array([logit(value) for value in probabilities])
    truth = np.array(present, dtype=np.float64)
    order = {patient: index for index, patient in enumerate(dict.fromkeys(patients))}
    fold = np.array([order[patient] % FOLDS for patient in patients])
    unseen: NDArray[np.float64] = np.empty_like(logits)
    for each in np.unique(fold):
        held = fold == each
        fit = fit_platt(logits[~held], truth[~held])
        unseen[held] = sigmoid(fit.a * logits[held] + fit.b)
    before, after = (calibration_error(truth, values, _BINS) for values in (sigmoid(logits), unseen))
    return LocalFit(fit_platt(logits, truth), before, after)

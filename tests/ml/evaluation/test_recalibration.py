"""Real predictions at another prevalence than their own: the calibration error before and after."""

import numpy as np
import pytest

from ml.labels import LABELS
from ml.metrics import calibration_error
from ml.model.calibration import fit_platt, sigmoid
from ml.model.recalibration import fit_local, prior_shift, remap, unmap
from tests.ml.evaluation.golden import Golden

FEWEST_POSITIVES = 200


def at_prevalence(truth: np.ndarray, share: float, random: np.random.Generator) -> np.ndarray:
    """Indices of films of which this share has the finding, as many as there are."""
    there, absent = np.flatnonzero(truth > 0), np.flatnonzero(truth == 0)
    count = min(len(there) / share, len(absent) / (1 - share))
    chosen = [
        random.choice(there, round(count * share), False),
        random.choice(absent, round(count * (1 - share)), False),
    ]
    return np.concatenate(chosen)


@pytest.mark.parametrize("share", [0.01, 0.30])
def test_the_calibration_error_at_least_halves_at_another_prevalence(golden: Golden, share: float) -> None:
    """Calibrated on one half of the patients, then read on the other half, resampled."""
    scored, random = golden.scored, np.random.default_rng(16)
    is_own = np.array([int(patient) % 2 == 0 for patient in scored.patients])
    before, shifted, fitted = [], [], []
    for column, label in enumerate(LABELS):
        truth, logits = scored.truth[:, column], scored.logits[:, column]
        if truth.sum() < FEWEST_POSITIVES:
            continue
        platt = fit_platt(logits[is_own], truth[is_own])
        there = np.flatnonzero(~is_own)
        there = there[at_prevalence(truth[there], share, random)]
        random.shuffle(there)
        p, y = sigmoid(platt.a * logits[there] + platt.b), truth[there]
        shift = prior_shift(float(truth[is_own].mean()), share)
        before.append(calibration_error(y, p))
        shifted.append(calibration_error(y, np.array([remap(value, shift) for value in p])))
        # The recalibration from verdicts: fitted on half of these films, read on the others.
        half = len(there) // 2
        local = fit_local(p[:half].tolist(), (y[:half] > 0).tolist(), [scored.patients[i] for i in there[:half]])
        fitted.append(calibration_error(y[half:], np.array([remap(value, local.platt) for value in p[half:]])))
        assert shift.a == 1.0, label
    assert len(before) >= 10
    means = f"{np.mean(before):.4f} before, {np.mean(shifted):.4f} shifted, {np.mean(fitted):.4f} fitted"
    assert np.mean(shifted) <= np.mean(before) / 2, means
    assert np.mean(fitted) <= np.mean(before) / 2, means


def test_the_scale_is_monotone_and_has_an_inverse() -> None:
    shift = prior_shift(0.3, 0.01)
    values = [0.0, 1e-9, 0.2, 0.2000001, 0.5, 1 - 1e-9, 1.0]
    moved = [remap(value, shift) for value in values]
    assert moved == sorted(moved)
    assert remap(0.3, shift) == pytest.approx(0.01)
    assert [unmap(value, shift) for value in moved] == pytest.approx(values, abs=1e-7)
    with pytest.raises(ValueError, match="prevalence"):
        prior_shift(0.3, 0.0)

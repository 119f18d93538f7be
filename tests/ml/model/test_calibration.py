import numpy as np
import pytest

from ml.metrics import calibration_error
from ml.model.calibration import Platt, calibrate, fit_platt, sigmoid


def test_recovers_a_known_distortion() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(-1, 2, 20_000)
    truth = rng.random(20_000) < sigmoid(logits)
    found = fit_platt(2.0 * logits + 1.0, truth)
    assert found.a == pytest.approx(0.5, abs=0.03)
    assert found.b == pytest.approx(-0.5, abs=0.05)


def test_halves_the_error_of_a_mis_scaled_copy() -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(-2, 1.5, 6000)
    truth = rng.random(6000) < sigmoid(logits)
    scaled = 3 * logits + 2
    fit = fit_platt(scaled[:3000], truth[:3000])
    before = calibration_error(truth[3000:], sigmoid(scaled[3000:]))
    after = calibration_error(truth[3000:], sigmoid(scaled[3000:] * fit.a + fit.b))
    assert after < before / 2


def test_never_reverses_a_ranking() -> None:
    logits = np.linspace(-2, 2, 50)
    fit = fit_platt(logits, logits < 0)
    assert fit.a > 0


def test_separated_classes_stay_finite() -> None:
    fit = fit_platt(np.array([-3.0, -2.0, 2.0, 3.0]), np.array([0, 0, 1, 1]))
    assert np.isfinite([fit.a, fit.b]).all()


def test_one_class_is_refused() -> None:
    with pytest.raises(ValueError, match="with and without"):
        fit_platt(np.array([0.1, 0.2]), np.array([0, 0]))


def test_extreme_logits_stay_probabilities() -> None:
    result = calibrate(np.array([[-1e4, 1e4]]), ("A", "B"), {"A": Platt(1, 0)})
    assert result.tolist() == [[0.0, 1.0]]

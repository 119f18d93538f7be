import numpy as np
import pytest

from ml.model.calibration import AbnormalScore, any_finding_logit, logit, sigmoid
from ml.model.uncertainty import MOST_CHANGED, fit_margin, uncertain


def test_outside_the_margin_few_calls_change() -> None:
    rng = np.random.default_rng(0)
    plain = rng.normal(-1, 1, 4000)
    varied = [plain + rng.normal(0, 0.3, 4000) for _ in range(2)]
    point = 0.4
    margin = fit_margin(plain, varied, point)
    distance = plain - logit(point)
    changed = np.any([(other >= logit(point)) != (distance >= 0) for other in varied], axis=0)
    sides = [(np.abs(distance) >= margin) & side for side in (distance >= 0, distance < 0)]
    assert max(changed[side].mean() for side in sides) <= MOST_CHANGED < changed[distance >= 0].mean()
    assert 0.1 < margin < 1.0


def test_stable_readings_need_no_margin() -> None:
    plain = np.random.default_rng(1).normal(size=500)
    assert fit_margin(plain, [plain, plain], 0.5) == 0.0


def test_uncertain_calls_lie_around_their_own_point() -> None:
    probabilities = np.array([[0.5, 0.5, 0.5], [0.29, 0.29, 0.29], [0.1, 0.9, 1.0]])
    found = uncertain(probabilities, ["A", "B", "C"], {"A": 0.3, "B": 0.55}, {"A": 0.1, "B": 0.3, "C": 9.0})
    assert found.tolist() == [[False, True, False], [True, False, False], [False, False, False]]


def test_the_study_level_score_is_the_chance_of_any_finding() -> None:
    independent = np.array([[0.1, 0.2], [0.0, 0.0], [1.0, 0.5]])
    score = AbnormalScore(1.0, 0.0, 0.5)
    assert score.probability(independent) == pytest.approx([1 - 0.9 * 0.8, 0.0, 1.0], abs=1e-6)
    halved = AbnormalScore(0.5, -1.0, 0.5)
    assert halved.probability(independent)[0] == pytest.approx(sigmoid(0.5 * logit(0.28) - 1.0))
    assert np.isfinite(any_finding_logit(independent)).all()

import numpy as np
import pytest

from ml.bootstrap import Draws, bootstrap_ranking, bootstrap_shares, interval, share_interval, wilson
from ml.metrics import auroc, average_precision


def test_patients_are_drawn_and_not_images() -> None:
    rng = np.random.default_rng(3)
    truth = np.repeat(rng.integers(0, 2, 40), 10)[:, None]
    scores = np.repeat(rng.normal(size=40), 10)[:, None] + truth
    patients = list(np.repeat(np.arange(40), 10))
    grouped, _ = bootstrap_ranking(truth, scores, Draws.of(patients, 300))
    alone, _ = bootstrap_ranking(truth, scores, Draws.of(list(range(400)), 300))
    assert np.nanstd(grouped) > 2 * np.nanstd(alone)
    again, _ = bootstrap_ranking(truth, scores, Draws.of(patients, 300))
    assert np.array_equal(grouped, again)


@pytest.mark.parametrize("digits", [1, 9])
def test_a_round_equals_the_metric_on_repeated_images(digits: int) -> None:
    rng = np.random.default_rng(4)
    truth = (rng.random((500, 2)) < (0.3, 0.02)).astype(float)
    truth[rng.random((500, 2)) < 0.1] = np.nan
    scores = (rng.normal(size=(500, 2)) + np.nan_to_num(truth)).round(digits)
    draws = Draws.of(rng.integers(0, 120, 500), 70)
    areas, precisions = bootstrap_ranking(truth, scores, draws)
    assert areas.shape == (70, 2)
    for index in (0, 33, 69):
        drawn = np.repeat(np.arange(500), draws.counts[index][draws.group])
        for column in range(2):
            assert areas[index, column] == pytest.approx(auroc(truth[drawn, column], scores[drawn, column]), abs=1e-12)
            expected = average_precision(truth[drawn, column], scores[drawn, column])
            assert precisions[index, column] == pytest.approx(expected, abs=1e-12)


def test_rounds_without_a_positive_are_undefined() -> None:
    truth = np.zeros((30, 1))
    truth[0] = 1
    areas, precisions = bootstrap_ranking(truth, np.arange(30.0)[:, None], Draws.of(range(30), 200))
    drawn = Draws.of(range(30), 200).counts[:, 0] > 0
    assert np.array_equal(np.isfinite(areas[:, 0]), drawn)
    assert np.array_equal(np.isfinite(precisions[:, 0]), drawn)
    assert interval(np.array([np.nan, np.nan, 0.5])) is None


def test_shares_follow_the_drawn_images() -> None:
    rng = np.random.default_rng(5)
    hits, among = rng.random((60, 3)) < 0.5, rng.random((60, 3)) < 0.7
    draws = Draws.of(rng.integers(0, 20, 60), 10)
    samples = bootstrap_shares(hits, among, draws)
    drawn = np.repeat(np.arange(60), draws.counts[4][draws.group])
    assert samples[4, 1] == pytest.approx(hits[drawn, 1][among[drawn, 1]].mean())


def test_coverage_of_a_known_share() -> None:
    rng = np.random.default_rng(6)
    inside = 0
    for seed in range(100):
        hits = rng.random((150, 1)) < 0.3
        draws = Draws.of(range(150), 200, seed)
        found = interval(bootstrap_shares(hits, np.ones_like(hits), draws)[:, 0])
        assert found is not None
        inside += found.low <= 0.3 <= found.high
    assert 87 <= inside <= 100


def test_a_perfect_share_is_not_certain() -> None:
    found = share_interval(1.0, np.ones(100), 12)
    assert found is not None
    assert found.low == pytest.approx(wilson(1.0, 12).low)
    assert 0.7 < found.low < 0.8
    assert found.high == 1.0

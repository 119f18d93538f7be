"""Three ranks compute what one process would: gradients, curves, scores; and no image is lost when a rank is."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ml.training.forecast import expected, ring_bytes
from ml.training.loop import joined
from ml.training.order import epoch_order, global_batch, pieces, share, uniforms
from ml.training.world import World
from tests.ml.training import rank_tasks
from tests.ml.training.rank_tasks import RECIPE, STILL, in_ranks

ALONE = World(torch.device("cpu"))


@pytest.mark.parametrize(("micro_batch", "norm"), [(0, True), (2, False)])
def test_gradient_of_three_ranks_is_the_mean_over_their_parts(tmp_path: Path, micro_batch: int, norm: bool) -> None:
    """Ten images for three ranks: unequal parts, unknown labels, and still the mean over the whole batch."""
    shown = rank_tasks.data()
    batch = global_batch(epoch_order(shown.train, 0, 0), 0, RECIPE.batch_size)
    parts = [piece for rank in range(3) for piece in pieces(share(batch, rank, 3), micro_batch)]
    wanted = rank_tasks.mean_of_parts(parts, norm)
    for found in in_ranks(3, tmp_path, rank_tasks.gradients, micro_batch, norm):
        assert set(found) == set(wanted)
        assert max(np.abs(found[name] - wanted[name]).max() for name in wanted) <= 1e-6
    assert max(np.abs(value).max() for value in wanted.values()) > 1e-3


def test_the_curve_is_the_same_with_one_rank_and_with_three(tmp_path: Path) -> None:
    history, weights = rank_tasks.fitted(ALONE, None, RECIPE)
    for others, their_weights in in_ranks(3, tmp_path, rank_tasks.fitted, None, RECIPE):
        for line, other in zip(history, others, strict=True):
            assert other == pytest.approx(line, abs=1e-5)
        for name, value in weights.items():
            assert np.allclose(their_weights[name], value, atol=1e-5), name


def test_two_ranks_go_on_where_three_ended(tmp_path: Path) -> None:
    """The same global batches, so the same curve as without the loss of a rank."""
    whole, weights = rank_tasks.fitted(ALONE, None, RECIPE)
    folder = tmp_path / "checkpoints"
    in_ranks(3, tmp_path, rank_tasks.fitted, folder, RECIPE, 1)
    assert len(list(folder.iterdir())) == 1
    for history, their_weights in in_ranks(2, tmp_path, rank_tasks.fitted, folder, RECIPE):
        assert [line["epoch"] for line in history] == [1, 2, 3]
        for line, other in zip(whole, history, strict=True):
            assert other == pytest.approx(line, abs=1e-5)
        assert all(np.allclose(their_weights[name], value, atol=1e-5) for name, value in weights.items())


def test_ranks_agree_on_batch_norm_statistics(tmp_path: Path) -> None:
    recipe = replace(RECIPE, epochs=1)
    first, *rest = in_ranks(3, tmp_path, rank_tasks.fitted, None, recipe, None, True)
    for history, weights in rest:
        assert history == first[0]
        assert all(np.array_equal(weights[name], value) for name, value in first[1].items())


def test_nan_on_one_rank_stops_all(tmp_path: Path) -> None:
    answers = in_ranks(3, tmp_path, rank_tasks.diverging)
    assert all("Lower the learning rate" in answer for answer in answers)
    assert len(set(answers)) == 1


def test_each_film_is_evaluated_once(tmp_path: Path) -> None:
    alone, _ = rank_tasks.scored(ALONE)
    for score, counts in in_ranks(3, tmp_path, rank_tasks.scored):
        assert score == pytest.approx(alone, abs=1e-9)
        assert counts == [4, 4, 3]
    held, truth = np.array([7, 3, 5]), np.arange(80, dtype=np.float32).reshape(10, 8)
    parts = [(held[0::2], truth[held[0::2]]), (held[1::2], truth[held[1::2]])]
    wanted, scores = joined(held, parts, truth)
    assert np.array_equal(wanted, scores)
    with pytest.raises(RuntimeError, match="4 evaluated films are not the 3"):
        joined(held, [*parts, (held[:1], truth[held[:1]])], truth)


def test_no_film_is_lost_or_repeated_whatever_the_number_of_ranks() -> None:
    order = epoch_order(np.arange(100, 203), seed=4, epoch=2)
    assert sorted(order) == list(range(100, 203))
    assert not np.array_equal(order, epoch_order(np.arange(100, 203), seed=4, epoch=3))
    for world in (1, 2, 3, 5):
        seen = [
            film
            for step in range(10)
            for rank in range(world)
            for piece in pieces(share(global_batch(order, step, 10), rank, world), 2)
            for film in piece
        ]
        assert sorted(seen) == sorted(order[:100])


def test_random_numbers_belong_to_the_film() -> None:
    films = np.arange(5000)
    draws = uniforms(1, 2, films, 8)
    assert np.array_equal(uniforms(1, 2, films[77:79], 8), draws[77:79])
    assert not np.array_equal(uniforms(1, 3, films, 8), draws)
    assert not np.array_equal(uniforms(2, 2, films, 8), draws)
    assert draws.min() >= 0
    assert draws.max() < 1
    assert np.abs(draws.mean(axis=0) - 0.5).max() < 0.02
    assert np.abs(np.corrcoef(draws.T) - np.eye(8)).max() < 0.06
    assert len(np.unique(draws[:, 0])) > 4990


def test_deterministic_runs_are_equal_to_the_bit() -> None:
    recipe = replace(RECIPE, augmentation=STILL, epochs=2)
    torch.use_deterministic_algorithms(True)
    try:
        (history, weights), (again, other) = (rank_tasks.fitted(ALONE, None, recipe, None, True) for _ in range(2))
    finally:
        torch.use_deterministic_algorithms(False)
    assert history == again
    assert all(np.array_equal(weights[name], other[name]) for name in weights)


def test_forecast_is_the_ring_formula(tmp_path: Path) -> None:
    first, second, third = in_ranks(3, tmp_path, rank_tasks.forecasted)
    assert first == second == third
    parameters = sum(p.numel() for p in rank_tasks.network().parameters())
    assert first["gradient_bytes"] == 4 * parameters
    assert first["wire_bytes"] == pytest.approx(2 * 2 / 3 * 4 * parameters)
    assert 0 < first["efficiency"] <= 1
    # DenseNet121 on gigabit Ethernet, 70 ms a step: most of the time is waiting.
    slow = expected(3, 27_872_824, 118e6, 0.070)
    assert slow.communication == pytest.approx(0.315, abs=0.005)
    assert slow.efficiency == pytest.approx(0.2, abs=0.03)
    assert "Your network will cap you at 2" in str(slow)
    assert ring_bytes(1, 100) == 0
    assert rank_tasks.forecasted(ALONE) is None

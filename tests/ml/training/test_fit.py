import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ml.labels import LABELS
from ml.metrics import auroc
from ml.model.input_check import KINDS
from ml.training.augment import DRAWS, augment
from ml.training.checkpoint import Checkpoints
from ml.training.config import Augmentation, Recipe
from ml.training.feature_check import describe, fit_feature_check
from ml.training.fit import fit
from ml.training.fitting import Execution, Stopped, TrainingData, TrainingDiverged, learning_rate
from ml.training.forward import Outputs, run
from ml.training.heads import fit_heads
from ml.training.loop import Loop
from ml.training.negatives import generated
from ml.training.order import uniforms
from ml.training.other_radiographs import other_radiographs
from ml.training.package import HeldOut, calibration_of, operating_points
from ml.training.spoiled import SPOILED, spoiled
from ml.training.usual import varied
from ml.training.world import World
from tests.ml import tiny


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Two threads of a tiny network wait for each other longer than they work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


QUICK = Recipe(epochs=3, batch_size=8, lr=3e-2, train_size=64, ema_films=76, warmup=0.1)


def discs(count: int, seed: int = 0) -> TrainingData:
    """Images with a bright disc where label 0 is positive, a dark one for label 1."""
    rng = np.random.default_rng(seed)
    squares = rng.normal(110, 12, (count, 64, 64))
    truth = (rng.random((count, 14)) < 0.4).astype(np.float32)
    y, x = np.mgrid[:64, :64]
    for film, (bright, dark) in enumerate(truth[:, :2]):
        for present, value in ((bright, 90), (dark, -90)):
            cy, cx = rng.integers(16, 48, 2)
            squares[film] += value * present * (np.hypot(y - cy, x - cx) < 9)
    everything = np.arange(count)
    return TrainingData(
        np.clip(squares, 0, 255).astype(np.uint8), truth, everything[: count * 3 // 4], everything[count * 3 // 4 :]
    )


def test_it_learns_what_is_planted() -> None:
    films = discs(160)
    network = tiny.network()
    fit(network, films, tiny.SPACE, Recipe(epochs=14, batch_size=16, lr=5e-2, train_size=64, ema_films=152))
    scores = run(network, films.squares, tiny.SPACE, indices=films.validation).logits
    for label in (0, 1):
        assert auroc(films.truth[films.validation, label], scores[:, label]) >= 0.85


class StopAt(threading.Event):
    """A signal that comes in a step of the training: each asks once."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.left = step

    def is_set(self) -> bool:
        self.left -= 1
        return self.left <= 0


@pytest.mark.parametrize("within", [False, True])
def test_resumed_training_ends_with_the_same_weights(tmp_path: Path, within: bool) -> None:
    """After a death at the end of an epoch, and after a signal within one."""
    films = discs(24)

    class Killed(Exception):
        pass

    def die(event: str, **line: Any) -> None:
        if event == "epoch" and line["epoch"] == 2:
            raise Killed

    whole = tiny.network()
    fit(whole, films, tiny.SPACE, QUICK)
    checkpoints = Checkpoints(tmp_path, "settings")
    stop = StopAt(3) if within else threading.Event()
    with pytest.raises(Stopped if within else Killed):
        fit(tiny.network(), films, tiny.SPACE, QUICK, checkpoints, notice=die, stop=stop)
    resumed = tiny.network(seed=5)
    result = fit(resumed, films, tiny.SPACE, QUICK, checkpoints, resume=True)
    assert [line["epoch"] for line in result.history] == [1, 2, 3]
    for key, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[key], value), key


def test_images_to_select_by_may_have_another_size_than_those_to_fit() -> None:
    films = discs(24)
    apart = TrainingData(
        np.pad(films.squares, ((0, 0), (8, 8), (8, 8)))[films.train], films.truth, films.train, films.validation,
        films.squares[films.validation],
    )  # fmt: skip
    scores = [Loop(tiny.network(), each, tiny.SPACE, QUICK, World(torch.device("cpu")), Execution()).score()
              for each in (films, apart)]  # fmt: skip
    assert scores[0] == scores[1]
    assert fit(tiny.network(), apart, tiny.SPACE, QUICK).epoch


def test_checkpoints_skip_a_damaged_file_and_keep_a_few_and_the_best(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, "a")
    for seen in range(1, 7):
        path = checkpoints.save(seen, {"x": torch.tensor(seen)}, best=2 if seen > 1 else None)
    assert sorted(int(p.stem[6:]) for p in tmp_path.iterdir()) == [2, 4, 5, 6]
    path.write_bytes(path.read_bytes()[:-40])
    found = checkpoints.newest()
    assert found is not None
    assert found.images_seen == 5
    assert int(checkpoints.state(found.body)["x"]) == 5
    with pytest.raises(ValueError, match="other settings"):
        Checkpoints(tmp_path, "b").state(found.body)
    assert Checkpoints(tmp_path / "none", "a").newest() is None


def test_frozen_parts_do_not_move() -> None:
    network = tiny.network()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    prefix = "features.body.conv_stem"
    fit(
        network,
        discs(24),
        tiny.SPACE,
        Recipe(epochs=1, batch_size=8, lr=1e-2, train_size=64, frozen=(prefix,), frozen_statistics=True),
    )
    after = network.state_dict()
    assert torch.equal(after[f"{prefix}.weight"], before[f"{prefix}.weight"])
    assert not torch.equal(after["classifier.weight"], before["classifier.weight"])
    statistics = [k for k in before if k.endswith("running_mean")]
    assert all(torch.allclose(after[k], before[k], atol=1e-6) for k in statistics)


def test_a_diverging_loss_stops_the_run() -> None:
    network = tiny.network()
    with torch.no_grad():
        network.classifier.bias.fill_(torch.nan)
    with pytest.raises(TrainingDiverged, match="Lower the learning rate"):
        fit(network, discs(24), tiny.SPACE, QUICK)
    with pytest.raises(ValueError, match="fewer than one batch"):
        fit(network, discs(8), tiny.SPACE, QUICK)


def test_learning_rate_warms_up_and_falls() -> None:
    recipe = Recipe(epochs=10, batch_size=256, lr=1.0, min_lr=0.1, warmup=0.1)
    rates = [learning_rate(step, 100, recipe) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1.0)
    assert rates[-1] == pytest.approx(0.1, abs=2e-3)
    assert np.all(np.diff(rates[10:]) < 0)


def test_augmentation_depends_on_the_film_alone_and_stays_in_range() -> None:
    grey = torch.rand(6, 1, 50, 50)
    draws = torch.from_numpy(uniforms(3, 1, np.arange(6), DRAWS))
    whole = augment(grey, 40, Augmentation(), draws)
    assert torch.equal(whole[2:4], augment(grey[2:4], 40, Augmentation(), draws[2:4]))
    assert whole.shape == (6, 1, 40, 40)
    assert 0 <= whole.min() < whole.max() <= 1
    none = Augmentation(min_area=1.0, degrees=0, flip=0, gamma=0, contrast=0, brightness=0)
    assert torch.allclose(augment(grey, 50, none, draws), grey, atol=1e-5)
    uneven = replace(none, min_area=0.5, aspect=0.11)
    corners = augment(torch.ones(300, 1, 50, 50).cumsum(3) / 50, 2, uneven, torch.rand(300, DRAWS))
    width = corners[:, 0, 0, 1] - corners[:, 0, 0, 0]
    assert 0.5 * 0.5**0.5 / 1.06 <= width.min() < width.max() <= 0.5
    flip = Augmentation(min_area=1.0, degrees=0, flip=1, gamma=0, contrast=0, brightness=0)
    assert torch.allclose(augment(grey, 50, flip, draws), grey.flip(3), atol=1e-5)


def test_heads_fold_their_standardisation() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(5, [1, 10, 1], (400, 3))
    truth = (features[:, 2:] - 5 > rng.normal(0, 0.3, (400, 1))).astype(np.float32)
    head = fit_heads(features, truth, 0.01)
    assert auroc(truth[:, 0], head(features)[:, 0]) > 0.95
    assert float(np.mean(1 / (1 + np.exp(-head(features))))) == pytest.approx(truth.mean(), abs=1e-3)


def test_negatives_are_varied_and_reproducible() -> None:
    pictures = generated(64, 12, seed=1)
    assert pictures.shape == (12, 64, 64)
    assert np.array_equal(pictures, generated(64, 12, seed=1))
    assert len({p.tobytes() for p in pictures}) == 12
    others = other_radiographs(64, 12, seed=1)
    assert np.array_equal(others, other_radiographs(64, 12, seed=1))
    assert len({p.tobytes() for p in others}) == 12


def test_spoiled_and_varied_images_depend_on_the_seed_alone() -> None:
    films = np.random.default_rng(0).integers(0, 256, (20, 64, 64), dtype=np.uint8)
    for kind in SPOILED:
        changed = spoiled(films, kind, seed=1)
        assert changed.shape == films.shape
        assert changed.dtype == np.uint8
        assert np.array_equal(changed, spoiled(films, kind, seed=1)), kind
        assert all(not np.array_equal(*pair) for pair in zip(changed, films, strict=True)), kind
    usual = varied(films, seed=1)
    assert np.array_equal(usual, varied(films, seed=1))
    assert len({image.tobytes() for image in usual}) == 20


def test_gate_is_fitted_on_held_out_patients() -> None:
    y, x = np.mgrid[:64, :64] / 64
    base = 200 * np.exp(-((x - 0.3) ** 2 + (y - 0.4) ** 2) * 20) + 60 * y
    noise = np.random.default_rng(0).normal(0, 10, (60, 64, 64))
    films = np.clip(base + noise, 0, 255).astype(np.uint8)
    check, figures = fit_feature_check(tiny.network(), films, [str(i // 2) for i in range(60)], tiny.SPACE)
    assert figures["refused_films"] <= 0.05
    assert figures["refused"]["picture"] >= 0.8
    assert check.weight.shape == (len(KINDS), *check.mean.shape)
    assert "no radiograph |" in "\n".join(describe(figures))
    assert check.mean.shape == (tiny.network().classifier.in_features,)


def test_few_positives_give_no_operating_point() -> None:
    rng = np.random.default_rng(1)
    truth = (rng.random((300, 14)) < 0.3).astype(np.float32)
    truth[:, 13] = 0
    truth[:9, 13] = 1
    logits = (truth * 2 - 1 + rng.normal(size=truth.shape)).astype(np.float32)
    outputs = Outputs(logits, np.zeros((300, 14, 2, 2), np.float32), logits)
    held = HeldOut(outputs, truth, [str(i) for i in range(300)], ["PA", "AP"] * 150)
    points, notes = operating_points(held, calibration_of(held))
    assert points["Hernia"] is None
    assert notes == {"Hernia": "No operating point: 9 positive validation films, 10 are needed."}
    effusion = points["Effusion"]
    assert effusion is not None
    assert 0 < effusion.value < 1
    assert effusion.positives == int(truth[:, LABELS.index("Effusion")].sum())

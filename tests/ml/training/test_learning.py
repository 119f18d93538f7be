"""Whether the loop learns at all: by heart what it may, and something true from few real images."""

from pathlib import Path

import numpy as np
import pytest

from ml.data import cached_images, find_table, read_list, read_table, targets
from ml.labels import LABELS
from ml.model.transforms import InputSpace
from ml.training.config import Augmentation, Recipe
from ml.training.fit import fit
from ml.training.fitting import TrainingData, mean_auroc
from ml.training.forward import run
from tests.ml import tiny

SPACE = InputSpace(64)
ROUNDS = 400
STILL = Augmentation(min_area=1.0, degrees=0, flip=0, gamma=0, contrast=0, brightness=0)


class Sample:
    """Real images at 64 pixels, with both lists."""

    def __init__(self, root: Path, cache: Path) -> None:
        table = read_table(find_table(root))
        lists = [read_list(root / f"{part}_list.txt", table) for part in ("train_val", "test")]
        names = [name for each in lists for name in each]
        self.squares = cached_images(root, names, SPACE, cache, progress=None)[:]
        self.truth = targets(table, names)
        self.train = np.arange(len(lists[0]))
        self.test = np.arange(len(lists[0]), len(names))


@pytest.fixture(scope="module")
def sample(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Sample:
    return Sample(test_data / "nih-sample", tmp_path_factory.mktemp("sample"))


def test_sixty_four_films_are_learnt_by_heart(sample: Sample) -> None:
    chosen = sample.train[:64]
    network = tiny.network()
    recipe = Recipe(epochs=45, batch_size=16, lr=0.08, warmup=0.1, ema_films=100, train_size=64, augmentation=STILL)
    fit(network, TrainingData(sample.squares, sample.truth, chosen, np.empty(0, np.intp)), SPACE, recipe)
    scores = run(network, sample.squares, SPACE, indices=chosen).logits
    assert mean_auroc(sample.truth[chosen], scores) >= 0.99


def test_what_is_learnt_is_not_chance(sample: Sample) -> None:
    """Permutation test on images of other patients; without Pneumonia, whose images come from another source."""
    network = tiny.network()
    recipe = Recipe(epochs=8, batch_size=32, lr=0.03, warmup=0.1, ema_films=1500, train_size=64)
    fit(network, TrainingData(sample.squares, sample.truth, sample.train, np.empty(0, np.intp)), SPACE, recipe)
    kept = [column for column, label in enumerate(LABELS) if label != "Pneumonia"]
    truth = sample.truth[sample.test][:, kept]
    scores = run(network, sample.squares, SPACE, indices=sample.test).logits[:, kept]
    found = mean_auroc(truth, scores)
    rng = np.random.default_rng(0)
    chance = [mean_auroc(truth[rng.permutation(len(truth))], scores) for _ in range(ROUNDS)]
    assert (1 + sum(value >= found for value in chance)) / (1 + ROUNDS) < 0.01

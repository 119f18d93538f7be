"""Maps that are drawn to boxes, while the scores stay what they were."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from ml.data import Box
from ml.labels import LABELS
from ml.model.networks import CamNetwork
from ml.training.forward import run
from recipes.steering import MIN_FILMS, inside, pointing, steer
from tests.ml import tiny

LABEL = LABELS.index("Pneumonia")
SIDE = tiny.SPACE.size


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Two threads of a tiny network wait for each other longer than they work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def films(count: int) -> tuple[np.ndarray, list[list[Box]]]:
    """Noise with a bright patch, which is the box, and a brighter one elsewhere, which is none."""
    rng = np.random.default_rng(0)
    squares = rng.normal(90, 20, (count, SIDE, SIDE))
    boxes = []
    for film in squares:
        y, x = rng.integers(0, SIDE // 2 - 16, 2)
        film[y : y + 16, x : x + 16] += 60
        film[SIDE - 20 :, SIDE - 20 :] += 90
        boxes.append([Box("film", "Pneumonia", float(x), float(y), 16.0, 16.0, SIDE, SIDE)])
    return np.clip(squares, 0, 255).astype(np.uint8), boxes


def cams(network: CamNetwork, squares: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    outputs = run(network, squares, tiny.SPACE)
    return outputs.cams, outputs.logits, outputs.features


def test_maps_point_to_boxes_of_films_never_seen_and_scores_hardly_move() -> None:
    torch.manual_seed(0)
    network = tiny.network().eval()
    squares, boxes = films(120)
    before, logits, features = cams(network, squares)
    assert steer(network, squares[:80], boxes[:80], features[:80], tiny.SPACE, strength=0.01) == {"Pneumonia": 80}
    after, moved, _ = cams(network, squares)
    unseen = slice(80, None)
    was, now = (pointing(each[unseen], boxes[unseen])["Pneumonia"]["pointing"] for each in (before, after))
    assert now >= was + 0.2
    np.testing.assert_allclose(moved[:80, LABEL].mean(), logits[:80, LABEL].mean(), atol=1e-3)
    others = [column for column in range(len(LABELS)) if column != LABEL]
    np.testing.assert_array_equal(moved[:, others], logits[:, others])
    identity = after[:, LABEL].mean(axis=(1, 2)) + float(network.classifier.bias.detach()[LABEL])
    np.testing.assert_allclose(identity, moved[:, LABEL], atol=1e-4)


def test_the_stronger_the_penalty_the_less_the_scores_move() -> None:
    squares, boxes = films(40)
    moves = []
    for strength in (0.01, 1.0, 100.0):
        torch.manual_seed(0)
        network = tiny.network().eval()
        _, logits, features = cams(network, squares)
        steer(network, squares, boxes, features, tiny.SPACE, strength)
        moves.append(float(np.std(cams(network, squares)[1][:, LABEL] - logits[:, LABEL])))
    assert moves[0] > moves[1] > moves[2]


def test_few_boxes_change_nothing() -> None:
    network = tiny.network().eval()
    squares, boxes = films(MIN_FILMS - 1)
    weight = network.classifier.weight.detach().clone()
    _, _, features = cams(network, squares)
    assert steer(network, squares, boxes, features, tiny.SPACE) == {}
    assert torch.equal(network.classifier.weight, weight)


def test_the_share_of_a_cell_in_a_box() -> None:
    box = Box("film", "Nodule", 0.0, 0.0, 512.0, 256.0)
    share = inside([box], 4, 4)
    assert share[0].tolist() == [1, 1, 0, 0]
    assert share[1:].sum() == 0
    assert inside([box, box], 4, 4).max() == 1


def test_an_input_that_shows_a_part_of_the_film_is_refused() -> None:
    from dataclasses import replace

    network = tiny.network().eval()
    squares, boxes = films(2)
    with pytest.raises(ValueError, match="whole film"):
        steer(network, squares, boxes, np.zeros((2, 8), np.float32), replace(tiny.SPACE, fit="crop"))

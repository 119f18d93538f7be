"""Published figures of other models. The tests check their means.

"Paper" is the one from which this project started: Chappidi, Shaikh, Bhan, Mane, Khan, "Checxray: A SaaS Application
for Chest X-Ray Diagnosis", Table 2.

`split`, `films` and `interval` repeat what the source states. Figures of different splits can't be compared.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from ml.labels import LABELS

NOT_STATED = "not stated"


@dataclass(frozen=True)
class Published:
    """One published column: the AUROC of each label, the mean as printed, and the test data."""

    title: str
    mean: float
    labels: Mapping[str, float]
    split: str
    films: str = NOT_STATED
    interval: str = NOT_STATED


def _labels(*values: float) -> dict[str, float]:
    return dict(zip(LABELS, values, strict=True))


WANG = Published(
    "Wang et al. 2017",
    0.7381,
    _labels(0.716, 0.807, 0.784, 0.609, 0.706, 0.671, 0.633, 0.806, 0.708, 0.835, 0.815, 0.769, 0.708, 0.767),
    NOT_STATED,
)
YAO = Published(
    "Yao et al. 2017",
    0.8027,
    _labels(0.772, 0.904, 0.859, 0.695, 0.792, 0.717, 0.713, 0.841, 0.788, 0.882, 0.829, 0.767, 0.765, 0.914),
    NOT_STATED,
)
CHEXNET = Published(
    "CheXNet 2017",
    0.8414,
    _labels(
        0.8094, 0.9248, 0.8638, 0.7345, 0.8676, 0.7802, 0.7680, 0.8887, 0.7901, 0.8878, 0.9371, 0.8047, 0.8062, 0.9164
    ),
    "its own, not published",
)
PAPER_121 = Published(
    "Paper, DenseNet121",
    0.8320,
    _labels(
        0.8263, 0.8732, 0.8939, 0.7325, 0.8479, 0.7633, 0.7784, 0.9084, 0.7406, 0.8847, 0.9595, 0.8003, 0.8092, 0.8295
    ),
    NOT_STATED,
)
PAPER_169 = Published(
    "Paper, DenseNet169",
    0.8016,
    _labels(
        0.7941, 0.8431, 0.8401, 0.7221, 0.8353, 0.7311, 0.7432, 0.8834, 0.7226, 0.8245, 0.8973, 0.7972, 0.7926, 0.7963
    ),
    NOT_STATED,
)
PAPER_201 = Published(
    "Paper, DenseNet201",
    0.8013,
    _labels(
        0.8241, 0.8131, 0.8201, 0.7338, 0.8567, 0.7533, 0.7321, 0.8542, 0.7061, 0.8732, 0.8635, 0.8002, 0.7862, 0.8012
    ),
    NOT_STATED,
)

"""A small folder in the ChestX-ray14 layout, with findings that can be seen: discs and bars."""

import csv
from pathlib import Path

import numpy as np
from PIL import Image

from ml.labels import LABELS

SIDE = 64


def image(rng: np.random.Generator, truth: np.ndarray, side: int = SIDE) -> np.ndarray:
    """A noisy image with a bright disc for the first label and a dark one for the second."""
    square = rng.normal(110, 12, (side, side))
    y, x = np.mgrid[:side, :side]
    for present, value in ((truth[0], 90), (truth[1], -90)):
        cy, cx = rng.integers(side // 4, side * 3 // 4, 2)
        square += value * present * (np.hypot(y - cy, x - cx) < side / 7)
    return np.clip(square, 0, 255).astype(np.uint8)


def make(root: Path, count: int = 96, test: int = 6, seed: int = 0) -> Path:
    """`count` images to train and select by, `test` images that nothing opens; two for each patient."""
    rng = np.random.default_rng(seed)
    (root / "images").mkdir(parents=True)
    names = []
    with (root / "Data_Entry_2017.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(
            ["Image Index", "Finding Labels", "Follow-up #", "Patient ID", "Patient Age", "Patient Gender",
             "View Position", "OriginalImage[Width", "Height]", "OriginalImagePixelSpacing[x", "y]"]
        )  # fmt: skip
        for number in range(count + test):
            truth = rng.random(len(LABELS)) < 0.4
            name = f"{number // 2 + 1:08d}_{number % 2:03d}.png"
            Image.fromarray(image(rng, truth)).save(root / "images" / name)
            labels = "|".join(label for label, present in zip(LABELS, truth, strict=True) if present) or "No Finding"
            writer.writerow([name, labels, number % 2, number // 2 + 1, 40, "M", "PA", SIDE, SIDE, 0.1, 0.1])
            names.append(name)
    (root / "train_val_list.txt").write_text("\n".join(names[:count]))
    (root / "test_list.txt").write_text("\n".join(names[count:]))
    return root

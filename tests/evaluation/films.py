"""A folder in the ChestX-ray14 layout, small enough to train on in seconds: one finding is bright, another dark."""

from pathlib import Path

import numpy as np
from PIL import Image

HEADER = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position\n"
SIDE = 64


def write_layout(root: Path, patients: int = 48, test: int = 16) -> Path:
    """Two films of each patient; the last `test` patients make the test list."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[:SIDE, :SIDE]
    (root / "images").mkdir(parents=True)
    lines, names = [], []
    for patient in range(patients):
        for number in range(2):
            name = f"{patient:08d}_{number:03d}.png"
            found = [label for label in ("Effusion", "Mass") if rng.random() < 0.5]
            film = rng.normal(110, 12, (SIDE, SIDE))
            for label, sign in (("Effusion", 90), ("Mass", -90)):
                cy, cx = rng.integers(16, 48, 2)
                film += sign * (label in found) * (np.hypot(y - cy, x - cx) < 9)
            Image.fromarray(np.clip(film, 0, 255).astype(np.uint8)).save(root / "images" / name)
            sex, view = "MF"[patient % 2], ("PA", "AP")[number]
            lines.append(f"{name},{'|'.join(found) or 'No Finding'},{number},{patient},{20 + patient},{sex},{view}\n")
            names.append(name)
    (root / "Data_Entry_2017.csv").write_text(HEADER + "".join(lines))
    (root / "train_val_list.txt").write_text("\n".join(names[: -2 * test]) + "\n")
    (root / "test_list.txt").write_text("\n".join(names[-2 * test :]) + "\n")
    return root

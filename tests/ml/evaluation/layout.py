"""A small folder in NIH's layout: 96 images of 48 patients, with boxes; the second half is the test set."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ml.labels import LABELS
from ml.model.artifact import save_artifact
from ml.model.manifest import read_manifest
from ml.training.package import rounded_tensors
from tests.ml import tiny

HEADER = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Sex,View Position\n"


def make(root: Path, patients: int = 48) -> Path:
    rng = np.random.default_rng(0)
    (root / "images").mkdir(parents=True)
    rows, boxes, parts = [], [], {"train_val": [], "test": []}
    for patient in range(1, patients + 1):
        for number in range(2):
            name = f"{patient:08d}_{number:03d}.png"
            found = [label for label in LABELS[:13] if rng.random() < 0.3]
            age, sex, view = int(rng.integers(1, 90)), "FM"[patient % 2], ("PA", "AP")[number]
            rows.append(f"{name},{'|'.join(found) or 'No Finding'},{number},{patient},{age},{sex},{view}\n")
            if found and number:
                boxes.append(f"{name},{found[0]},{200 + patient},{300 - patient},250,200,,,\n")
            Image.fromarray(rng.integers(0, 256, (64, 64), dtype=np.uint8)).save(root / "images" / name)
            parts["test" if patient > patients // 2 else "train_val"].append(name)
    (root / "Data_Entry_2017_v2020.csv").write_text(HEADER + "".join(rows))
    (root / "BBox_List_2017.csv").write_text("Image Index,Finding Label,Bbox [x,y,w,h],,,\n" + "".join(boxes))
    for part, names in parts.items():
        (root / f"{part}_list.txt").write_text("\n".join(names) + "\n")
    return root


def artifact(folder: Path, seed: int = 0, labels: Sequence[str] = LABELS, **data: Any) -> Path:
    """A tiny version with the manifest entries `data` about its training, and outputs for `labels` only."""
    network, whole = tiny.network(seed), tiny.manifest()
    card = {"source": "noise", "split_id": "train_val_list", "split_sha256": "0" * 64, **data}
    of_labels = {
        field: {label: getattr(whole, field)[label] for label in labels}
        for field in ("thresholds", "calibration", "cam_scale")
    }
    notes = {label: note for label, note in whole.threshold_notes.items() if label in labels}
    manifest = replace(whole, name=f"tiny-{seed}", data=card, labels=tuple(labels), threshold_notes=notes, **of_labels)
    check = tiny.accepting_feature_check(network.classifier.in_features)
    tensors, kept = rounded_tensors(network), [LABELS.index(label) for label in labels]
    for name in ("classifier.weight", "classifier.bias"):
        tensors[name] = tensors[name][kept]
    save_artifact(folder, manifest, tensors, check)
    assert read_manifest(folder).data == card
    return folder

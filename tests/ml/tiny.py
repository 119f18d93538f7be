"""A network small enough for tests, and an artifact of it."""

from pathlib import Path

import numpy as np
import torch

from ml.labels import LABELS
from ml.model.artifact import save_artifact
from ml.model.calibration import Platt
from ml.model.input_check import FeatureCheck
from ml.model.manifest import Manifest, Threshold
from ml.model.networks import CamNetwork, build
from ml.model.saliency import CamScale
from ml.model.transforms import InputSpace
from ml.training.package import rounded_tensors

ARCHITECTURE = "test_efficientnet"
SPACE = InputSpace(64)


def network(seed: int = 0) -> CamNetwork:
    torch.manual_seed(seed)
    made = build(ARCHITECTURE, len(LABELS)).eval()
    with torch.no_grad():
        made.classifier.bias.normal_()
        made.classifier.weight.normal_()
    return made


def accepting_feature_check(channels: int) -> FeatureCheck:
    """A feature check that accepts every image."""
    ones = np.ones(channels, np.float32)
    return FeatureCheck(
        0 * ones, ones, 0 * ones[None], ones[:1], 0.0, np.eye(channels, 2, dtype=np.float32), ones[:2], 1.0, 1e9
    )


def manifest() -> Manifest:
    return Manifest(
        name="tiny",
        architecture=ARCHITECTURE,
        input_space=SPACE,
        grid=(2, 2),
        thresholds={label: None if label == "Hernia" else Threshold(0.3, "youden", 12) for label in LABELS},
        threshold_notes={"Hernia": "No operating point: 2 positive validation films."},
        calibration={label: Platt(0.9, -0.1) for label in LABELS},
        cam_scale={label: CamScale(0.1, 2.0) for label in LABELS},
        gate=None,
        metrics={"validation": {"mean_auroc": 0.8, "ci95": [0.75, 0.85], "labels": {}}},
        data={},
        card="# tiny",
        weights_sha256="",
    )


def artifact(folder: Path, seed: int = 0) -> Path:
    made = network(seed)
    save_artifact(folder, manifest(), rounded_tensors(made), accepting_feature_check(made.classifier.in_features))
    return folder

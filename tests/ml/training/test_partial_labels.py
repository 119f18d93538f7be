"""A data set that labels some of the findings makes a version of these findings."""

from pathlib import Path

import numpy as np

from ml.labels import LABELS
from ml.model.artifact import load_artifact
from ml.training.config import Recipe, TrainingConfig
from ml.training.ensemble import main
from ml.training.run import prepare
from ml.training.weights import initial_network
from tests.ml.data import public
from tests.ml.training.test_ensemble import trained

LABELLED = ("Atelectasis", "Cardiomegaly", "Effusion", "Pneumonia", "Pneumothorax", "Consolidation", "Edema")


def test_findings_without_truth_have_no_output(tmp_path: Path) -> None:
    data = public.chexpert(tmp_path / "chexpert")
    recipe = Recipe(train_size=32, epochs=1, batch_size=16)
    config = TrainingConfig(data, tmp_path / "out", "test_resnet", input_size=32, recipe=recipe)
    artifact = load_artifact(trained(config, prepare(config)))
    manifest = artifact.manifest
    assert manifest.labels == LABELLED
    assert artifact.bias.shape == (len(LABELLED),)
    assert set(manifest.metrics["validation"]["labels"]) == set(LABELLED)
    assert "no output for them: Infiltration, Mass" in manifest.card

    network = initial_network("test_resnet", str(config.out / "artifact"), seed=0, size=32)
    rows = [LABELS.index(label) for label in LABELLED]
    assert np.array_equal(network.classifier.bias.detach().numpy()[rows], artifact.bias)
    assert network.classifier.out_features == len(LABELS)

    folder = str(config.out / "artifact")
    assert main([folder, "--flip", "--data", str(data), "--out", str(tmp_path / "flip")]) == 0
    assert load_artifact(tmp_path / "flip" / "artifact").manifest.labels == LABELLED

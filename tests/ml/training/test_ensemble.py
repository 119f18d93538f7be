"""Trained artifacts become one version: of several seeds, and with the mirror image."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ml.model.artifact import load_artifact
from ml.model.manifest import read_manifest
from ml.model.onnx_export import serving_graph
from ml.training.config import TrainingConfig
from ml.training.ensemble import main
from ml.training.fit import fit
from ml.training.run import Prepared, prepare, write_artifact
from ml.training.weights import initial_network
from tests.ml.training import layout
from tests.ml.training.test_fit import QUICK


def trained(config: TrainingConfig, prepared: Prepared) -> Path:
    network = initial_network(config.architecture, None, config.recipe.seed, config.input_size)
    chosen = fit(network, prepared.data(), config.space, config.recipe)
    write_artifact(config, prepared, network, chosen, "one process")
    return config.out / "artifact"


def answers(folder: Path, squares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    with torch.inference_mode():
        logits, cams, _ = serving_graph(load_artifact(folder))(torch.from_numpy(squares.copy()))
    return logits.numpy(), cams.numpy()


def test_seeds_become_one_version(data_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = replace(QUICK, epochs=1, batch_size=16)
    config = TrainingConfig(data_folder, tmp_path / "0", "test_resnet", input_size=64, recipe=recipe)
    prepared = prepare(config)
    folders = [
        trained(replace(config, out=tmp_path / str(seed), recipe=replace(recipe, seed=seed)), prepared)
        for seed in range(2)
    ]
    options = ["--data", str(data_folder), "--out", str(tmp_path / "both"), "--flip", "--name", "both"]
    assert main([*map(str, folders), *options]) == 0
    artifact = load_artifact(tmp_path / "both" / "artifact")
    manifest = artifact.manifest
    assert manifest.architecture == "test_resnet+flip@64,test_resnet+flip@64"
    assert "the mean of 2 networks" in manifest.card
    assert "seed 0" in manifest.card
    assert "seed 1" in manifest.card
    assert "4 forwards" in manifest.card
    assert [each["sha256"] for each in manifest.metrics["members"]] == [read_manifest(each).sha256 for each in folders]
    assert manifest.data["split_sha256"] == read_manifest(folders[0]).data["split_sha256"]

    squares = np.array(prepared.held[:5])
    logits, cams = answers(tmp_path / "both" / "artifact", squares)
    members = [answers(folder, each)[0] for folder in folders for each in (squares, squares[:, :, ::-1])]
    # The head of the ensemble is rounded once more when it is stored.
    assert np.abs(logits - np.mean(members, axis=0)).max() <= 2e-3
    assert np.abs(cams.mean(axis=(2, 3)) + artifact.bias - logits).max() <= 1e-4

    capsys.readouterr()
    assert main([str(folders[0]), "--data", str(data_folder), "--out", str(tmp_path / "one")]) == 1
    assert "one with --flip" in capsys.readouterr().err
    other = layout.make(tmp_path / "data", count=80, seed=3)
    assert main([*map(str, folders), "--data", str(other), "--out", str(tmp_path / "x")]) == 1
    assert "has other lists" in capsys.readouterr().err

"""Synthetic chest images to train networks on, and what every kind of network must do with them."""

import functools
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ml.labels import LABELS
from ml.model.artifact import load_artifact, save_artifact
from ml.model.networks import CamNetwork
from ml.model.onnx_export import serving_graph
from ml.model.predictor import OnnxPredictor
from ml.model.torch_predictor import TorchPredictor, _Bfloat16Graph
from ml.model.transforms import InputSpace
from ml.phantom import FINDINGS
from ml.training.checkpoint import Checkpoints
from ml.training.config import Recipe
from ml.training.fit import fit
from ml.training.fitting import Stopped, TrainingData
from ml.training.forward import run
from ml.training.package import load_rounded, rounded_tensors
from ml.training.weights import initial_network
from tests.ml import tiny
from tests.ml.training.test_fit import StopAt
from tests.synthetic import synthetic_image

RECIPE = Recipe(epochs=2, batch_size=8, lr=0.1, warmup=0.1, ema_films=48)
COUNT, PATIENTS = 32, 8


@functools.cache
def phantoms(size: int) -> TrainingData:
    """Images of `size` pixels: eight patients, every second one with a finding, each with noise of its own."""
    rng = np.random.default_rng(0)
    truth = np.zeros((COUNT, len(LABELS)), np.float32)
    squares = []
    for row in range(COUNT):
        seed = row % PATIENTS
        findings = FINDINGS[seed // 2 :][: seed % 2]
        truth[row, [LABELS.index(each) for each in findings]] = 1
        pixels = (synthetic_image(seed, 64, findings).pixels / 16 + rng.normal(0, 8, (64, 64))).clip(0, 255)
        larger = np.kron(pixels.astype(np.uint8), np.ones((2, 2), np.uint8))
        squares.append(larger[::2, ::2][:size, :size] if size <= 64 else larger[:size, :size])
    everything = np.arange(COUNT)
    return TrainingData(np.stack(squares), truth, everything[:24], everything[24:])


def made(architecture: str, size: int, recipe: Recipe, seed: int = 0) -> CamNetwork:
    return initial_network(architecture, None, seed, size, recipe.drop_path)


def learns_and_resumes(architecture: str, size: int, recipe: Recipe, folder: Path) -> CamNetwork:
    """The loss falls, and a training that was stopped within an epoch ends with the same weights."""
    recipe, space = replace(recipe, train_size=size), InputSpace(size)
    whole = made(architecture, size, recipe)
    history = fit(whole, phantoms(size), space, recipe).history
    assert history[-1]["loss"] < history[0]["loss"]
    checkpoints = Checkpoints(folder, "settings")
    with pytest.raises(Stopped):
        fit(made(architecture, size, recipe), phantoms(size), space, recipe, checkpoints, stop=StopAt(3))
    resumed = made(architecture, size, recipe, seed=5)
    fit(resumed, phantoms(size), space, recipe, checkpoints, resume=True, stop=threading.Event())
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name
    return whole


def is_served_as_trained(network: CamNetwork, architecture: str, size: int, folder: Path) -> None:
    """ONNX Runtime and torch answer as the network, within 1e-4; so do its maps, and in bfloat16 they sum to logits."""
    space, squares = InputSpace(size), phantoms(size).squares[:4]
    load_rounded(network, rounded_tensors(network))
    wanted = run(network, squares, space)
    manifest = replace(tiny.manifest(), architecture=architecture, input_space=space, grid=tuple(wanted.cams.shape[2:]))
    save_artifact(folder / "artifact", manifest, rounded_tensors(network))
    artifact = load_artifact(folder / "artifact")
    for predictor in (OnnxPredictor(artifact, folder / "cache", threads=1), TorchPredictor(artifact, "cpu")):
        found = predictor.predict(squares)
        assert np.abs(found.logits - wanted.logits).max() <= 1e-4
        assert np.abs(found.features - wanted.features).max() <= 1e-4 * max(1, np.abs(wanted.features).max())
        # The predictor gives maps in float16.
        size_of_maps = max(1, np.abs(wanted.cams).max())
        means = found.cams.mean(axis=(2, 3), dtype=np.float64) + artifact.bias
        assert np.abs(means - wanted.logits).max() <= 1e-3 * size_of_maps
        assert np.abs(found.cams - wanted.cams).max() <= 2e-3 * size_of_maps
    half = _Bfloat16Graph(serving_graph(artifact), torch.bfloat16)
    with torch.inference_mode():
        logits, cams, _ = (value.numpy() for value in half(torch.from_numpy(squares)))
    assert np.abs(cams.mean(axis=(2, 3)) + artifact.bias - logits).max() <= 1e-4
    assert np.abs(logits - wanted.logits).max() <= 0.1 * max(1, np.abs(wanted.logits).max())

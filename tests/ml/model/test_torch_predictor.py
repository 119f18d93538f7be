"""Tests of the predictor for GPUs. Without a GPU, the bfloat16 network is tested on the CPU; the rest is skipped."""

import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from ml.model.artifact import load_artifact, save_artifact
from ml.model.onnx_export import serving_graph
from ml.model.torch_predictor import RECORDED_BATCHES, TorchPredictor, _Bfloat16Graph
from ml.model.transforms import normalise
from tests.ml import tiny

on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.artifact(tmp_path_factory.mktemp("artifact") / "tiny")


def pictures(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 64, 64), dtype=np.uint8)


def exact(folder: Path, batch: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return np.asarray(serving_graph(load_artifact(folder))(torch.from_numpy(batch))[0])


def test_in_bfloat16_the_maps_still_sum_to_the_logits(folder: Path) -> None:
    artifact = load_artifact(folder)
    half = _Bfloat16Graph(serving_graph(artifact), torch.bfloat16)
    with torch.inference_mode():
        logits, cams, features = (value.numpy() for value in half(torch.from_numpy(pictures(3))))
    assert {value.dtype for value in (logits, cams, features)} == {np.dtype(np.float32)}
    assert np.abs(cams.mean(axis=(2, 3)) + artifact.bias - logits).max() <= 1e-4
    error = np.abs(logits - exact(folder, pictures(3))).max()
    assert 0 < error <= 5e-2


def test_the_network_runs_uncompiled_where_the_compiler_fails(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> object:
        def run(_: torch.Tensor) -> None:
            raise RuntimeError("no gcc")

        return run

    monkeypatch.setattr(torch, "compile", broken)
    predictor = TorchPredictor(load_artifact(folder), "cpu")
    assert predictor._compiled(torch.from_numpy(pictures(2))) is predictor._network
    assert "not compiled" in caplog.text


@on_a_gpu
def test_every_batch_size_gives_the_results_of_the_cpu(folder: Path) -> None:
    predictor = TorchPredictor(load_artifact(folder), "cuda")
    predictor.warm_up()
    for count in (1, 3, 5, RECORDED_BATCHES[-1], RECORDED_BATCHES[-1] + 9):
        batch = pictures(count)
        result = predictor.predict(batch)
        assert result.logits.shape == (count, 14)
        assert np.abs(result.logits - exact(folder, batch)).max() <= 5e-2
        images = normalise(batch, predictor.manifest.input_space)
        assert np.abs(predictor.predict_images(images).logits - result.logits).max() <= 5e-2


@on_a_gpu
def test_a_version_is_recorded_while_another_one_predicts(folder: Path, tmp_path: Path) -> None:
    """Compiling and recording must not disturb predictions of another version."""
    first = TorchPredictor(load_artifact(folder), "cuda")
    first.warm_up()
    batch, over, wrong = pictures(7), threading.Event(), list[float]()
    expected = exact(folder, batch)

    def read() -> None:
        while not over.is_set():
            wrong.append(float(np.abs(first.predict(batch).logits - expected).max()))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number in range(3):
            network = tiny.network(seed=number + 1)
            other = tmp_path / str(number)
            save_artifact(other, tiny.manifest(), {k: v.numpy() for k, v in network.state_dict().items()})
            loaded = TorchPredictor(load_artifact(other), "cuda")
            loaded.warm_up()
            assert np.abs(loaded.predict(batch).logits - exact(other, batch)).max() <= 5e-2
    finally:
        over.set()
        reader.join()
    assert wrong
    assert max(wrong) <= 5e-2

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ml.model.artifact import load_artifact, save_artifact
from ml.model.manifest import ArtifactInvalid
from ml.model.onnx_export import serving_graph
from ml.model.predictor import (
    ExportedGraphs,
    OnnxPredictor,
    Predictor,
    PredictorUnavailable,
    exported,
    load_predictor,
)
from ml.model.saliency import identity_error
from ml.model.torch_predictor import TorchPredictor
from ml.model.transforms import normalise
from ml.training.package import golden_logits
from tests.ml import tiny

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.artifact(tmp_path_factory.mktemp("artifact") / "tiny")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def predictor(folder: Path, cache: Path) -> Predictor:
    return load_predictor(folder, "cpu", cache, threads=1)


def pictures(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 64, 64), dtype=np.uint8)


def test_onnx_agrees_with_torch(predictor: Predictor, folder: Path) -> None:
    batch = pictures(11)
    with torch.inference_mode():
        logits, cams, features = (v.numpy() for v in serving_graph(load_artifact(folder))(torch.from_numpy(batch)))
    result = predictor.predict(batch)
    assert np.abs(result.logits - logits).max() <= 1e-4
    assert np.abs(result.features - features).max() <= 1e-4
    assert np.abs(result.cams - cams).max() <= 2e-2
    assert result.cams.dtype == np.float16
    assert identity_error(logits, cams, predictor.artifact.bias) <= 1e-4
    assert identity_error(result.logits, result.cams, predictor.artifact.bias) <= 1e-4


def test_torch_predictor_agrees(predictor: Predictor, folder: Path) -> None:
    other = TorchPredictor(load_artifact(folder), "cpu")
    other.warm_up()
    batch = pictures(5)
    assert np.abs(other.predict(batch).logits - predictor.predict(batch).logits).max() <= 1e-4


def test_the_golden_image_is_replayed_when_a_version_is_loaded(tmp_path: Path) -> None:
    made, cache = tiny.network(), tmp_path / "cache"
    golden = golden_logits(made, tiny.SPACE)
    for name, logits in (("good", golden), ("bad", (golden[0] + 1e-2, *golden[1:]))):
        described = replace(tiny.manifest(), golden_logits=logits)
        save_artifact(tmp_path / name, described, {k: v.numpy() for k, v in made.state_dict().items()})
    good = load_predictor(tmp_path / "good", "cpu", cache, threads=1)
    assert good.manifest.golden_logits == golden
    good.warm_up()
    bad = load_artifact(tmp_path / "bad")
    with pytest.raises(ArtifactInvalid, match="golden-mismatch"):
        OnnxPredictor(bad, cache).warm_up()


def test_an_image_gets_the_same_score_in_any_batch(predictor: Predictor) -> None:
    batch = pictures(19)
    together = predictor.predict(batch)
    alone = predictor.predict(batch[17:18])
    assert np.abs(together.logits[17] - alone.logits[0]).max() <= 1e-5


def test_an_empty_batch(predictor: Predictor) -> None:
    result = predictor.predict(pictures(0))
    assert result.logits.shape == (0, 14)
    assert result.cams.shape == (0, 14, 2, 2)
    assert predictor.check_features(result) == []


@pytest.mark.parametrize("bad", [pictures(2).astype(np.float32), pictures(2)[:, :32], pictures(2)[0]])
def test_wrong_batches_are_refused(predictor: Predictor, bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match="Expected uint8"):
        predictor.predict(bad)


def test_probabilities_and_feature_check(predictor: Predictor) -> None:
    result = predictor.predict(pictures(3))
    probabilities = predictor.probabilities(result)
    expected = 1 / (1 + np.exp(-(0.9 * result.logits.astype(float) - 0.1)))
    assert np.abs(probabilities - expected).max() < 1e-6
    assert all(r.accepted for r in predictor.check_features(result))


def test_images_that_the_caller_normalised_get_the_same_scores(predictor: Predictor, folder: Path) -> None:
    squares = pictures(5)
    images = normalise(squares, predictor.manifest.input_space)
    torchs = TorchPredictor(load_artifact(folder), "cpu")
    expected = predictor.predict(squares)
    for each in (predictor, torchs):
        result = each.predict_images(images)
        assert np.abs(result.logits - expected.logits).max() <= 1e-4
        assert np.abs(result.features - expected.features).max() <= 1e-4
    coloured = images.copy()
    coloured[:, 2] *= 0.5
    assert np.abs(predictor.predict_images(coloured).logits - expected.logits).max() > 1e-3
    assert predictor.predict_images(images[:0]).logits.shape == (0, 14)


@pytest.mark.parametrize("shape", [(2, 1, 64, 64), (2, 3, 32, 64), (3, 64, 64)])
def test_wrong_images_are_refused(predictor: Predictor, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="Expected float32"):
        predictor.predict_images(np.zeros(shape, np.float32))
    with pytest.raises(ValueError, match="Expected float32"):
        predictor.predict_images(np.zeros((2, 3, 64, 64), np.float64))  # type: ignore[arg-type]


def test_the_graphs_are_exported_once(folder: Path, cache: Path, predictor: Predictor) -> None:
    kept = sorted(cache.glob("*.onnx"))
    stamps = [path.stat().st_mtime_ns for path in kept]
    load_predictor(folder, "cpu", cache)
    assert len(kept) == 2
    assert [path.stat().st_mtime_ns for path in kept] == stamps


def test_concurrent_loads_wait_for_one_export(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exports = []

    def slow_export(_: object, graphs: ExportedGraphs) -> None:
        exports.append(graphs)
        time.sleep(0.3)
        graphs.images.touch()
        graphs.squares.touch()

    monkeypatch.setattr("ml.model.predictor._export", slow_export)
    artifact = load_artifact(folder)
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(lambda _: exported(artifact, tmp_path), range(4)))
    assert len(exports) == 1
    assert results == exports * 4


@pytest.mark.parametrize("damaged", ["-images.onnx", pytest.param("2.onnx", marks=pytest.mark.long)])
def test_a_damaged_cache_is_exported_again(folder: Path, cache: Path, predictor: Predictor, damaged: str) -> None:
    (kept,) = cache.glob(f"*{damaged}")
    kept.write_bytes(kept.read_bytes()[:1000])
    again, images = load_predictor(folder, "cpu", cache), normalise(pictures(1), predictor.manifest.input_space)
    assert np.array_equal(again.predict(pictures(1)).logits, predictor.predict(pictures(1)).logits)
    assert np.array_equal(again.predict_images(images).logits, predictor.predict_images(images).logits)


def test_tensors_of_another_architecture_fail_with_a_reason(tmp_path: Path) -> None:
    from dataclasses import replace

    from ml.model.artifact import save_artifact
    from ml.training.package import rounded_tensors

    wrong = replace(tiny.manifest(), architecture="test_resnet")
    save_artifact(tmp_path / "wrong", wrong, rounded_tensors(tiny.network()))
    with pytest.raises(PredictorUnavailable, match="weights-shape-mismatch"):
        OnnxPredictor(load_artifact(tmp_path / "wrong"), tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*.onnx*"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_cuda_without_a_gpu_names_the_remedy(folder: Path, cache: Path) -> None:
    with pytest.raises(PredictorUnavailable, match="device=cpu"):
        load_predictor(folder, "cuda", cache)


def test_cpu_serving_never_imports_torch(folder: Path, cache: Path, predictor: Predictor) -> None:
    code = (
        "import sys, numpy; from pathlib import Path; from ml.model.predictor import load_predictor;"
        f"p = load_predictor(Path({str(folder)!r}), 'cpu', Path({str(cache)!r}), threads=1); p.warm_up();"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0

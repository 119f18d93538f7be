import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from ml.labels import LABELS
from ml.model.artifact import WEIGHTS, file_sha256, load_artifact, network_tensors, save_artifact
from ml.model.manifest import CODES, MANIFEST, ArtifactInvalid, Manifest, read_manifest
from tests.ml import tiny

STARTER = Path(__file__).parents[3] / "models" / "starter"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny.artifact(tmp_path / "tiny")


def edit(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / MANIFEST
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def rehash(folder: Path) -> None:
    edit(folder, lambda m: m.update(weights_sha256=file_sha256(folder / WEIGHTS)))


def code_of(folder: Path) -> str:
    with pytest.raises(ArtifactInvalid) as caught:
        load_artifact(folder)
    assert caught.value.code in CODES
    return caught.value.code


def test_round_trip(folder: Path) -> None:
    artifact = load_artifact(folder)
    assert artifact.manifest == Manifest.from_dict(json.loads((folder / MANIFEST).read_text()))
    assert artifact.sha256 == read_manifest(folder).sha256
    assert artifact.manifest.labels == LABELS
    assert artifact.manifest.thresholds["Hernia"] is None
    assert artifact.bias.shape == (14,)
    assert artifact.feature_check is not None
    expected = tiny.network().state_dict()
    assert set(network_tensors(artifact.weights_path)) == set(expected)


def test_identity_changes_with_manifest_and_weights(folder: Path, tmp_path: Path) -> None:
    first = load_artifact(folder).sha256
    assert load_artifact(tiny.artifact(tmp_path / "again")).sha256 == first
    assert load_artifact(tiny.artifact(tmp_path / "other", seed=1)).sha256 != first
    edit(folder, lambda m: m["thresholds"]["Mass"].update(value=0.31))
    assert load_artifact(folder).sha256 != first


def test_reformatting_the_manifest_keeps_the_identity(folder: Path) -> None:
    first = load_artifact(folder).sha256
    edit(folder, lambda m: None)
    assert load_artifact(folder).sha256 == first


def test_a_flipped_bit(folder: Path) -> None:
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[-7] ^= 1
    (folder / WEIGHTS).write_bytes(content)
    assert code_of(folder) == "weights-hash-mismatch"


def test_truncated_weights(folder: Path) -> None:
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[: len(content) // 2])
    assert code_of(folder) == "weights-hash-mismatch"
    rehash(folder)
    assert code_of(folder) == "weights-invalid"


def test_a_pickle_in_disguise_is_not_executed(folder: Path, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "executed",))

    (folder / WEIGHTS).write_bytes(pickle.dumps({"classifier.weight": Bomb()}))
    rehash(folder)
    assert code_of(folder) == "weights-invalid"
    assert not (tmp_path / "executed").exists()


def test_not_a_number(folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    tensors["classifier.bias"][3] = np.nan
    save_file(tensors, folder / WEIGHTS)
    rehash(folder)
    assert code_of(folder) == "weights-not-finite"


def test_a_head_of_another_shape(folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    tensors["classifier.weight"] = tensors["classifier.weight"][:13]
    save_file(tensors, folder / WEIGHTS)
    rehash(folder)
    assert code_of(folder) == "weights-shape-mismatch"


def test_a_feature_check_that_does_not_fit(folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    del tensors["gate.basis"]
    save_file(tensors, folder / WEIGHTS)
    rehash(folder)
    assert code_of(folder) == "gate-invalid"


def test_labels_in_another_order(folder: Path) -> None:
    edit(folder, lambda m: m.update(labels=sorted(m["labels"])))
    assert code_of(folder) == "labels-mismatch"


def test_a_version_that_was_trained_on_some_labels_only(tmp_path: Path) -> None:
    whole, few = tiny.manifest(), ("Effusion", "Hernia")
    parts = {name: {k: getattr(whole, name)[k] for k in few} for name in ("thresholds", "calibration", "cam_scale")}
    tensors = {"classifier.weight": np.ones((2, 3), np.float32), "classifier.bias": np.zeros(2, np.float32)}
    saved = save_artifact(tmp_path / "few", replace(whole, labels=few, **parts), tensors)
    assert load_artifact(tmp_path / "few").manifest.labels == saved.labels == few
    edit(tmp_path / "few", lambda m: m.update(labels=["Hernia", "Effusion"]))
    assert code_of(tmp_path / "few") == "labels-mismatch"


@pytest.mark.parametrize("labels", [[], ["Fracture"], ["Mass", "Mass"], "Mass", [["Mass"]], [None]])
def test_invalid_labels(folder: Path, labels: Any) -> None:
    edit(folder, lambda m: m.update(labels=labels))
    assert code_of(folder) == "labels-mismatch"


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.update(schema_version=2),
        lambda m: m.update(grid=[0, 7]),
        lambda m: m.pop("calibration"),
        lambda m: m.update(surprise=1),
        lambda m: m["calibration"].pop("Mass"),
        lambda m: m["calibration"]["Mass"].update(a=-1.0),
        lambda m: m["thresholds"]["Mass"].update(value=1.5),
        lambda m: m["cam_scale"]["Mass"].update(s=float("nan")),
        lambda m: m["input_space"].update(size=-1),
        lambda m: m.update(weights_sha256="abc"),
        lambda m: m.update(thresholds=[1, 2]),
    ],
)
def test_a_manifest_with_a_defect(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    edit(folder, change)
    assert code_of(folder) == "manifest-invalid"


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe", b"[" * 100_000, b" " * (5 << 20)])
def test_an_invalid_manifest(folder: Path, content: bytes) -> None:
    (folder / MANIFEST).write_bytes(content)
    assert code_of(folder) == "manifest-invalid"


def test_missing_files(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    assert code_of(folder) == "missing-file"
    assert read_manifest(folder).name == "tiny"
    (folder / MANIFEST).unlink()
    assert code_of(folder) == "missing-file"


def test_saving_refuses_what_would_not_load(tmp_path: Path) -> None:
    tensors = {"classifier.weight": np.full((14, 3), np.inf, np.float32), "classifier.bias": np.zeros(14, np.float32)}
    with pytest.raises(ArtifactInvalid, match="weights-not-finite"):
        save_artifact(tmp_path / "bad", tiny.manifest(), tensors)
    with pytest.raises(ArtifactInvalid, match="manifest-invalid"):
        save_artifact(
            tmp_path / "bad", replace(tiny.manifest(), card=""), {**tensors, "classifier.weight": np.ones((14, 3))}
        )


def test_the_starter_is_small_and_has_a_description() -> None:
    artifact = load_artifact(STARTER)
    assert sum(f.stat().st_size for f in STARTER.iterdir()) <= 20_000_000
    manifest = artifact.manifest
    assert "Demonstration only. Investigational. Not for diagnostic use." in manifest.card
    test = manifest.metrics["test"]
    assert test["mean_auroc"] >= 0.70
    assert set(test["labels"]) == set(LABELS)
    assert all(entry["ci95"] for entry in test["labels"].values())
    for label, point in manifest.thresholds.items():
        assert point is not None or "positive validation films" in manifest.threshold_notes[label]
        assert point is None or point.positives >= 10
    assert "/" not in json.dumps(manifest.data["split_id"]).replace(" / ", "")

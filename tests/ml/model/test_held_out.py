from pathlib import Path

import numpy as np
import pytest

from ml.labels import LABELS
from ml.model import held_out
from ml.model.artifact import load_artifact, network_tensors, save_artifact
from ml.model.held_out import HeldOutRecord, read_held_out
from ml.model.manifest import ArtifactInvalid
from ml.training.package import rounded_tensors
from tests.ml import tiny


def record(films: int = 30) -> HeldOutRecord:
    rng = np.random.default_rng(0)
    truth = (rng.random((films, len(LABELS))) < 0.2).astype(np.float32)
    truth[3, 4] = np.nan
    views = np.array(["PA", "AP", ""] * (films // 3))
    logits, patients = rng.normal(size=truth.shape).astype(np.float32), np.arange(films, dtype=np.int32) // 2
    return HeldOutRecord(logits, truth, views, patients)


def test_an_artifact_gives_back_what_was_stored(tmp_path: Path) -> None:
    stored, network = record(), tiny.network()
    save_artifact(tmp_path, tiny.manifest(), rounded_tensors(network), held_out=stored)
    found = read_held_out(tmp_path)
    assert found is not None
    assert np.array_equal(found.logits, stored.logits)
    assert np.array_equal(found.truth, stored.truth, equal_nan=True)
    assert found.views.tolist() == stored.views.tolist()
    assert found.patients.tolist() == stored.patients.tolist()
    assert set(network_tensors(load_artifact(tmp_path).weights_path)) == set(network.state_dict())


def test_an_older_artifact_has_none(tmp_path: Path) -> None:
    assert read_held_out(tiny.artifact(tmp_path)) is None


def test_incomplete_outputs_are_refused(tmp_path: Path) -> None:
    tensors = {**rounded_tensors(tiny.network()), "held_out.truth": np.zeros((3, 14), np.int8)}
    with pytest.raises(ArtifactInvalid, match="held-out outputs are incomplete"):
        save_artifact(tmp_path, tiny.manifest(), tensors)


def test_only_so_many_films_are_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_out, "MOST_IMAGES", 7)
    kept = record().tensors()
    assert {len(value) for value in kept.values()} == {7}

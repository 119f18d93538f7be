"""Tests of the model card that a training writes and an evaluation reads."""

from pathlib import Path

import numpy as np

from ml.bootstrap import Draws
from ml.labels import LABELS
from ml.metrics import evaluate
from ml.model.manifest import read_manifest
from ml.training.forward import Outputs
from ml.training.package import Description, HeldOut, card, package
from tests.ml import tiny


def held_out() -> HeldOut:
    rng = np.random.default_rng(0)
    truth = (rng.random((120, len(LABELS))) < 0.3).astype(np.float32)
    truth[rng.random(truth.shape) < 0.2] = np.nan
    truth[:, 3] = np.nan
    outputs = Outputs(
        (rng.normal(size=truth.shape) + np.nan_to_num(truth)).astype(np.float32),
        rng.normal(size=(120, len(LABELS), 2, 2)).astype(np.float32),
        rng.normal(size=(120, 8)).astype(np.float32),
    )
    return HeldOut(outputs, truth, [str(i) for i in range(120)], ["PA", "AP"] * 60)


DESCRIPTION = Description(
    "mine", tiny.ARCHITECTURE, "by hand.", {"source": "s", "split_id": "p", "split_sha256": "0"}, "all."
)


def test_unknown_truth_reaches_no_figure_of_the_artifact(tmp_path: Path) -> None:
    held = held_out()
    metrics = {
        "validation": evaluate(held.truth, held.outputs.logits, held.patients, draws=Draws.of(held.patients, 20))
    }
    package(tmp_path / "a", tiny.network(), tiny.SPACE, held, DESCRIPTION, metrics, None)
    manifest = read_manifest(tmp_path / "a")
    assert manifest.thresholds[LABELS[3]] is None
    assert "0 positive" in manifest.threshold_notes[LABELS[3]]
    assert manifest.calibration[LABELS[3]].a == 1.0
    assert manifest.metrics["calibration_error"]["validation"][LABELS[3]] is None
    known = int((held.truth[:, 0] > 0).sum())
    assert manifest.thresholds[LABELS[0]].positives == known
    assert manifest.metrics["validation"]["labels"][LABELS[0]]["positives"] == known


def test_the_card_lists_what_was_not_run() -> None:
    held = held_out()
    figures = evaluate(held.truth, held.outputs.logits, held.patients, draws=Draws.of(held.patients, 20))
    alone = card(DESCRIPTION, {"validation": figures})
    assert "## What was not run" in alone
    assert "The test list was not opened" in alone
    tested = card(DESCRIPTION, {"validation": figures, "test": figures})
    assert "The test list was not opened" not in tested
    assert "No figures by subgroup" in tested

import csv
from pathlib import Path

import numpy as np
import pytest

from ml.datasets import read_table
from ml.labels import LABELS
from ml.metrics import (
    MetricUndefined,
    auroc,
    average_precision,
    bootstrap_auroc,
    calibration_error,
    evaluate,
    youden_threshold,
)


def test_golden_predictions_reproduce_published_aurocs(test_data: Path) -> None:
    films = read_table(test_data / "nih-official" / "Data_Entry_2017_v2020.csv.gz")
    with (test_data / "golden" / "chexnet_reproduction_predictions.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    with (test_data / "golden" / "chexnet_reproduction_aurocs.csv").open() as stream:
        published = {row["label"]: float(row["auc"]) for row in csv.DictReader(stream)}
    assert len(rows) == 22_433
    assert set(published) == set(LABELS)
    for label in LABELS:
        truth = np.array([label in films[row["Image Index"]].findings for row in rows])
        scores = np.array([float(row[f"prob_{label}"]) for row in rows])
        assert abs(auroc(truth, scores) - published[label]) < 1e-9, label
    assert np.mean(list(published.values())) == pytest.approx(0.8383, abs=5e-5)


def test_auroc_counts_ties_one_half() -> None:
    rng = np.random.default_rng(0)
    truth, scores = rng.integers(0, 2, 200), rng.integers(0, 6, 200)
    pairs = [(p > n) + (p == n) / 2 for p in scores[truth == 1] for n in scores[truth == 0]]
    assert auroc(truth, scores) == pytest.approx(np.mean(pairs), abs=1e-12)
    assert auroc(truth, np.zeros(200)) == 0.5


def test_average_precision_by_hand() -> None:
    assert average_precision([1, 0, 1, 0], [0.9, 0.8, 0.7, 0.1]) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision([1, 0, 0, 0], [0.5, 0.5, 0.5, 0.5]) == pytest.approx(0.25)


def test_undefined_and_bad_scores_are_told_apart() -> None:
    with pytest.raises(MetricUndefined):
        auroc([1, 1], [0.1, 0.2])
    with pytest.raises(MetricUndefined):
        average_precision([0, 0], [0.1, 0.2])
    with pytest.raises(ValueError, match="NaN"):
        auroc([0, 1], [np.nan, 0.5])
    with pytest.raises(ValueError, match="equally long"):
        auroc([0, 1], [0.5])


def test_youden_maximises_sensitivity_plus_specificity() -> None:
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 2, 300).astype(bool)
    scores = rng.normal(truth * 1.2, 1).round(1)

    def j(threshold: float) -> float:
        return float(np.mean(scores[truth] >= threshold) - np.mean(scores[~truth] >= threshold))

    chosen = youden_threshold(truth, scores)
    assert j(chosen) == pytest.approx(max(j(t) for t in np.unique(scores)))
    assert chosen not in scores


def test_calibration_error_of_a_calibrated_score_is_small() -> None:
    rng = np.random.default_rng(2)
    p = rng.random(20_000)
    truth = rng.random(20_000) < p
    assert calibration_error(truth, p) < 0.02
    assert calibration_error(truth, np.clip(p * 0.5, 0, 1)) > 0.2


def test_bootstrap_draws_patients_not_films() -> None:
    rng = np.random.default_rng(3)
    truth = np.repeat(rng.integers(0, 2, 40), 10)[:, None]
    scores = np.repeat(rng.normal(size=40), 10)[:, None] + truth
    grouped = bootstrap_auroc(truth, scores, list(np.repeat(np.arange(40), 10)), rounds=300)
    alone = bootstrap_auroc(truth, scores, list(range(400)), rounds=300)
    assert np.nanstd(grouped) > 2 * np.nanstd(alone)
    assert np.array_equal(grouped, bootstrap_auroc(truth, scores, list(np.repeat(np.arange(40), 10)), rounds=300))


def test_evaluate_leaves_out_what_is_undefined() -> None:
    rng = np.random.default_rng(4)
    truth = rng.integers(0, 2, (120, 14))
    truth[:, 13] = 0
    report = evaluate(truth, rng.normal(size=(120, 14)) + truth, [str(i // 2) for i in range(120)], rounds=100)
    assert report["labels"]["Hernia"] == {"auroc": None, "ci95": None, "auprc": None, "positives": 0}
    assert (report["n"], report["patients"], report["labels_in_mean"]) == (120, 60, 13)
    defined = [entry["auroc"] for entry in report["labels"].values() if entry["auroc"] is not None]
    assert report["mean_auroc"] == pytest.approx(np.mean(defined))
    assert report["ci95"][0] < report["mean_auroc"] < report["ci95"][1]
    others = [e["auroc"] for k, e in report["labels"].items() if k not in ("Pneumonia", "Hernia")]
    assert report["mean_auroc_without_pneumonia"] == pytest.approx(np.mean(others))

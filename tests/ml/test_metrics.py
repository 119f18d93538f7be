import csv
from pathlib import Path

import numpy as np
import pytest

from ml.data import read_table
from ml.labels import LABELS
from ml.metrics import (
    MetricUndefined,
    auroc,
    average_precision,
    brier,
    calibration_bins,
    calibration_error,
    evaluate,
    operating_curve,
    roc_curve,
    youden_threshold,
)


def test_golden_predictions_reproduce_published_aurocs(test_data: Path) -> None:
    pictures = read_table(test_data / "nih-official" / "Data_Entry_2017_v2020.csv.gz")
    with (test_data / "golden" / "chexnet_reproduction_predictions.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    with (test_data / "golden" / "chexnet_reproduction_aurocs.csv").open() as stream:
        published = {row["label"]: float(row["auc"]) for row in csv.DictReader(stream)}
    assert len(rows) == 22_433
    assert set(published) == set(LABELS)
    for label in LABELS:
        truth = np.array([label in pictures[row["Image Index"]].findings for row in rows])
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


def test_undefined_metrics_and_bad_scores_are_different_errors() -> None:
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


def test_evaluate_leaves_out_what_is_undefined() -> None:
    rng = np.random.default_rng(4)
    truth = rng.integers(0, 2, (120, 14))
    truth[:, 13] = 0
    report = evaluate(truth, rng.normal(size=(120, 14)) + truth, [str(i // 2) for i in range(120)], rounds=100)
    assert report["labels"]["Hernia"] == {
        "auroc": None,
        "ci95": None,
        "auprc": None,
        "auprc_ci95": None,
        "positives": 0,
    }
    assert (report["n"], report["patients"], report["labels_in_mean"]) == (120, 60, 13)
    defined = [entry["auroc"] for entry in report["labels"].values() if entry["auroc"] is not None]
    assert report["mean_auroc"] == pytest.approx(np.mean(defined))
    assert report["ci95"][0] < report["mean_auroc"] < report["ci95"][1]
    others = [e["auroc"] for k, e in report["labels"].items() if k not in ("Pneumonia", "Hernia")]
    assert report["mean_auroc_without_pneumonia"] == pytest.approx(np.mean(others))


def test_unknown_truth_is_left_out() -> None:
    rng = np.random.default_rng(5)
    truth, scores = rng.integers(0, 2, 200).astype(float), rng.normal(size=200)
    unknown = rng.random(200) < 0.3
    masked = np.where(unknown, np.nan, truth)
    for metric in (auroc, average_precision, youden_threshold, lambda t, s: brier(t, s), calibration_error):
        assert metric(masked, scores) == metric(truth[~unknown], scores[~unknown])
    patients = np.arange(200).astype(str)
    report = evaluate(masked[:, None], scores[:, None], patients.tolist(), ("Mass",), rounds=50)
    known = truth[~unknown][:, None], scores[~unknown][:, None], patients[~unknown].tolist()
    alone = evaluate(*known, ("Mass",), rounds=50)
    assert report["labels"]["Mass"]["auroc"] == alone["labels"]["Mass"]["auroc"]
    assert report["labels"]["Mass"]["positives"] == alone["labels"]["Mass"]["positives"]
    with pytest.raises(MetricUndefined):
        auroc([np.nan, 1.0], [0.1, 0.2])


def test_thinned_roc_keeps_the_area() -> None:
    rng = np.random.default_rng(6)
    truth = rng.integers(0, 2, 5000)
    scores = rng.normal(size=5000) + truth
    curve = roc_curve(truth, scores)
    assert len(curve) <= 100
    assert curve[0].tolist() == [0, 0]
    assert curve[-1].tolist() == [1, 1]
    assert (np.diff(curve, axis=0) >= 0).all()
    area = float(np.sum(np.diff(curve[:, 0]) * (curve[1:, 1] + curve[:-1, 1]) / 2))
    assert area == pytest.approx(auroc(truth, scores), abs=2e-3)
    full = roc_curve([1, 0, 1, 0], [0.9, 0.8, 0.7, 0.1])
    assert full.tolist() == [[0, 0], [0, 0.5], [0.5, 0.5], [0.5, 1], [1, 1]]


def test_calibration_bins_contain_every_image_once() -> None:
    rng = np.random.default_rng(7)
    p = rng.random(1000)
    bins = calibration_bins(rng.random(1000) < p, p)
    assert bins.shape == (15, 3)
    assert bins[:, 2].sum() == 1000
    assert (np.diff(bins[:, 0]) > 0).all()
    assert len(calibration_bins([np.nan], [0.5])) == 0
    assert brier([1, 0], [0.8, 0.4]) == pytest.approx((0.04 + 0.16) / 2)


def test_an_operating_curve_has_the_figures_of_each_threshold() -> None:
    generator = np.random.default_rng(3)
    truth = generator.random(3000) < 0.2
    scores = np.round(generator.normal(size=3000) + truth, 2)
    curve = operating_curve(truth, scores)
    assert len(curve) <= 100
    assert (np.diff(curve[:, 0]) < 0).all()
    for threshold, sensitivity, specificity in curve:
        assert (scores[truth] >= threshold).mean() == pytest.approx(sensitivity)
        assert (scores[~truth] < threshold).mean() == pytest.approx(specificity)
    assert curve[-1, 1:].tolist() == [1.0, 0.0]
    with pytest.raises(MetricUndefined):
        operating_curve(np.ones(3), np.arange(3))

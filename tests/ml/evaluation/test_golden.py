"""Tests with 22,433 predictions of a public CheXNet reproduction: our figures must equal the published ones."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ml.bootstrap import Draws
from ml.data import patient_folds
from ml.evaluation.figures import classification, operating_points
from ml.evaluation.subgroups import subgroups
from ml.labels import LABELS
from ml.metrics import calibration_error, youden_threshold
from ml.model.calibration import fit_platt, sigmoid
from ml.model.manifest import Threshold
from tests.ml.evaluation.golden import Golden

Report = dict


@pytest.fixture(scope="module")
def draws(golden: Golden) -> Draws:
    return Draws.of(golden.scored.patients, rounds=100)


@pytest.fixture(scope="module")
def report(golden: Golden, draws: Draws) -> Report:
    return classification(golden.scored, draws)


@pytest.fixture(scope="module")
def groups(golden: Golden, draws: Draws) -> Report:
    found = subgroups(golden.scored, golden.records, draws)
    return {name: group for family in found.values() for name, group in family["groups"].items()}


def test_all_fourteen_aurocs_reproduce(report: Report, test_data: Path) -> None:
    with (test_data / "golden" / "chexnet_reproduction_aurocs.csv").open() as stream:
        published = {row["label"]: float(row["auc"]) for row in csv.DictReader(stream)}
    for label in LABELS:
        entry = report["labels"][label]
        assert abs(entry["auroc"] - published[label]) < 1e-9, label
        assert entry["ci95"][0] < entry["auroc"] < entry["ci95"][1]
        assert entry["auprc_ci95"][0] < entry["auprc"] < entry["auprc_ci95"][1]
    assert report["mean_auroc"] == pytest.approx(0.8383, abs=5e-5)
    assert report["mean_auprc"] == pytest.approx(0.259, abs=5e-4)
    assert (report["n"], report["patients"]) == (22_433, 6187)
    # The standard error of the mean is about 0.003 at this size.
    assert 0.002 < (report["ci95"][1] - report["ci95"][0]) / 3.92 < 0.005


def test_one_half_is_a_useless_threshold(golden: Golden, draws: Draws) -> None:
    half = replace(golden.scored, thresholds={label: Threshold(0.5, "fixed", 0) for label in LABELS})
    points = operating_points(half, draws)
    found = {label: points[label]["sensitivity"] for label in LABELS}
    assert found["Pneumonia"] == found["Hernia"] == 0.0
    assert found["Consolidation"] == pytest.approx(0.002, abs=5e-4)
    assert found["Atelectasis"] == pytest.approx(0.15, abs=5e-3)
    assert max(found, key=lambda label: found[label]) == "Effusion"
    assert found["Effusion"] == pytest.approx(0.41, abs=5e-3)


def test_no_positive_call_at_all_is_no_certainty(golden: Golden, draws: Draws) -> None:
    half = replace(golden.scored, thresholds={label: Threshold(0.5, "fixed", 0) for label in LABELS})
    hernia = operating_points(half, draws)["Hernia"]
    assert hernia["sensitivity"] == 0.0
    assert 0.05 < hernia["sensitivity_ci95"][1] < 0.4
    assert hernia["ppv"] is None
    assert hernia["ppv_films"] == 0


@pytest.mark.parametrize(
    ("label", "sensitivity", "specificity"),
    [
        ("Effusion", 0.81, 0.80),
        ("Pneumothorax", 0.83, 0.77),
        ("Emphysema", 0.85, 0.85),
        ("Cardiomegaly", 0.81, 0.86),
        ("Infiltration", 0.63, 0.68),
    ],
)
def test_youden_points_on_other_patients(
    golden: Golden, draws: Draws, label: str, sensitivity: float, specificity: float
) -> None:
    """The reference does not state which half of the patients chose the threshold, so both halves are tested."""
    scored, column = golden.scored, LABELS.index(label)
    folds = patient_folds(scored.patients, 2)
    found = []
    for fold in (0, 1):
        chosen, held = folds != fold, np.flatnonzero(folds == fold)
        value = youden_threshold(scored.truth[chosen, column], scored.probabilities[chosen, column])
        part = replace(
            scored,
            truth=scored.truth[held],
            logits=scored.logits[held],
            patients=[scored.patients[i] for i in held],
            thresholds={**scored.thresholds, label: Threshold(value, "youden", 1)},
        )
        found.append(operating_points(part, draws.subset(held))[label])
    for name, expected in (("sensitivity", sensitivity), ("specificity", specificity)):
        assert np.mean([point[name] for point in found]) == pytest.approx(expected, abs=0.05)
        assert all(point[f"{name}_ci95"][0] < point[name] < point[f"{name}_ci95"][1] for point in found)


def test_calibration_before_and_after_platt(golden: Golden, report: Report) -> None:
    scored = golden.scored
    assert report["ece"]["raw"] == pytest.approx(0.0093, abs=2e-4)
    assert max(entry["ece"]["raw"] for entry in report["labels"].values()) == pytest.approx(0.021, abs=5e-4)
    folds = patient_folds(scored.patients, 2)
    held = folds == 0
    errors = []
    for column in range(len(LABELS)):
        fit = fit_platt(scored.logits[~held, column], scored.truth[~held, column])
        after = sigmoid(fit.a * scored.logits[held, column] + fit.b)
        errors.append(calibration_error(scored.truth[held, column], after))
    assert np.mean(errors) == pytest.approx(0.0063, abs=3e-4)


def test_calibration_does_not_carry_over_to_the_official_list(golden: Golden, test_data: Path) -> None:
    official = set((test_data / "nih-official" / "test_list.txt").read_text().split())
    chosen = np.array([name in official for name in golden.names])
    scored = replace(
        golden.scored,
        truth=golden.scored.truth[chosen],
        logits=golden.scored.logits[chosen],
        patients=[record.patient for record, kept in zip(golden.records, chosen, strict=True) if kept],
    )
    found = classification(scored, Draws.of(scored.patients, rounds=10))
    assert found["n"] == 5213
    assert found["mean_auroc"] == pytest.approx(0.8182, abs=5e-5)
    assert found["ece"]["raw"] == pytest.approx(0.0176, abs=1e-4)


@pytest.mark.parametrize(
    ("group", "mean"),
    [
        ("M", 0.834),
        ("F", 0.837),
        ("PA", 0.834),
        ("AP", 0.819),
        ("<20", 0.844),
        ("20-40", 0.843),
        ("40-60", 0.836),
        ("60-80", 0.810),
    ],
)
def test_audit_reproduces(groups: Report, group: str, mean: float) -> None:
    assert groups[group]["mean_auroc"] == pytest.approx(mean, abs=5e-4)


def test_gaps_reproduce(groups: Report) -> None:
    def gaps(group: str, name: str) -> list[float]:
        # The reference leaves out Hernia, of which there are 42 films.
        return [groups[group]["labels"][label][f"{name}_gap"] for label in LABELS if label != "Hernia"]

    assert np.mean(gaps("F", "tpr")) == pytest.approx(-0.034, abs=5e-4)
    assert np.abs(gaps("F", "tpr")).max() == pytest.approx(0.12, abs=5e-3)
    assert np.mean(gaps("AP", "tpr")) == pytest.approx(0.042, abs=5e-4)
    assert np.abs(gaps("AP", "tpr")).max() == pytest.approx(0.31, abs=5e-3)
    assert np.mean(gaps("AP", "fpr")) == pytest.approx(0.087, abs=5e-4)
    assert abs(groups["<20"]["largest_tpr_gap"]["gap"]) == pytest.approx(0.28, abs=5e-3)
    assert "Infiltration" in groups["AP"]["gaps_to_disclose"]


def test_few_films_of_a_group_are_no_figure(groups: Report) -> None:
    hernia = groups["AP"]["labels"]["Hernia"]
    assert hernia["positives"] == 2
    assert hernia["auroc"] is hernia["tpr"] is hernia["tpr_gap"] is None
    assert "10" in hernia["reason"]

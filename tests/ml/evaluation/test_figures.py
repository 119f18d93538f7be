import numpy as np
import pytest

from ml.bootstrap import Draws
from ml.data import ImageRecord
from ml.evaluation.figures import Scored, classification, operating_points
from ml.evaluation.subgroups import subgroups
from ml.labels import LABELS
from ml.metrics import brier
from ml.model.calibration import Platt, sigmoid
from ml.model.manifest import Threshold


def scored(records: int = 400, unknown: float = 0.0, seed: int = 0) -> Scored:
    rng = np.random.default_rng(seed)
    truth = (rng.random((records, len(LABELS))) < 0.3).astype(float)
    logits = rng.normal(size=truth.shape) + 1.5 * truth
    truth[rng.random(truth.shape) < unknown] = np.nan
    thresholds = {label: None if label == "Hernia" else Threshold(0.6, "youden", 30) for label in LABELS}
    return Scored(
        truth,
        logits,
        [str(i // 2) for i in range(records)],
        thresholds,
        {label: Platt(0.8, 0.1) for label in LABELS},
        {"Hernia": "No operating point: 2 positive validation films."},
    )


def test_operating_point_by_hand() -> None:
    given = scored(unknown=0.2)
    point = operating_points(given, Draws.of(given.patients, 50))["Mass"]
    column = LABELS.index("Mass")
    truth, p = given.truth[:, column], sigmoid(0.8 * given.logits[:, column] + 0.1)
    known = ~np.isnan(truth)
    y, alarm = truth[known] == 1, p[known] >= 0.6
    assert point is not None
    assert point["sensitivity"] == pytest.approx((alarm & y).sum() / y.sum())
    assert point["specificity"] == pytest.approx((~alarm & ~y).sum() / (~y).sum())
    assert point["ppv"] == pytest.approx((alarm & y).sum() / alarm.sum())
    assert point["npv"] == pytest.approx((~alarm & ~y).sum() / (~alarm).sum())
    assert point["ppv_films"] == alarm.sum()
    for name in ("sensitivity", "specificity", "ppv", "npv"):
        low, high = point[f"{name}_ci95"]
        assert low < point[name] < high


def test_a_label_without_operating_point_says_why() -> None:
    given = scored()
    entry = classification(given, Draws.of(given.patients, 20))["labels"]["Hernia"]
    assert entry["operating_point"] is None
    assert entry["operating_point_note"] == "No operating point: 2 positive validation films."
    assert entry["auroc"] is not None


def test_calibration_before_and_after() -> None:
    given = scored(unknown=0.1)
    report = classification(given, Draws.of(given.patients, 20))
    entry = report["labels"]["Edema"]
    column = LABELS.index("Edema")
    assert entry["brier"]["raw"] == pytest.approx(brier(given.truth[:, column], sigmoid(given.logits[:, column])))
    assert entry["brier"]["platt"] == pytest.approx(brier(given.truth[:, column], given.probabilities[:, column]))
    assert (
        sum(n for _, _, n in entry["reliability"]["platt"])
        == entry["films"]
        == (~np.isnan(given.truth[:, column])).sum()
    )
    assert report["ece"]["raw"] == pytest.approx(np.mean([e["ece"]["raw"] for e in report["labels"].values()]))


def test_a_label_of_which_nothing_is_known() -> None:
    given = scored()
    given.truth[:, 3] = np.nan
    report = classification(given, Draws.of(given.patients, 20))
    entry = report["labels"][LABELS[3]]
    assert entry["auroc"] is entry["roc"] is entry["ece"]["raw"] is entry["brier"]["platt"] is None
    assert entry["films"] == entry["positives"] == 0
    assert entry["reliability"]["raw"] == []
    assert report["labels_in_mean"] == 13


def people(count: int) -> list[ImageRecord]:
    return [
        ImageRecord(
            str(i), str(i // 2), frozenset(), [10, 30, 50, 70, None][i % 5], "FM"[i % 2], ("PA", "AP", "")[i % 3]
        )
        for i in range(count)
    ]


def test_groups_hold_only_films_that_tell() -> None:
    given = scored()
    found = subgroups(given, people(400), Draws.of(given.patients, 30))
    assert {n: g["n"] for n, g in found["sex"]["groups"].items()} == {"F": 200, "M": 200}
    assert sum(g["n"] for g in found["age"]["groups"].values()) == 320
    assert "80+" not in found["age"]["groups"]
    assert {n: g["n"] for n, g in found["view"]["groups"].items()} == {"PA": 134, "AP": 133}
    assert found["sex"]["groups"]["F"]["patients"] == 200


def test_a_planted_gap_is_found_and_disclosed() -> None:
    given, records = scored(1200), people(1200)
    women = np.array([record.sex == "F" for record in records])
    column = LABELS.index("Effusion")
    missed = women & (given.truth[:, column] == 1)
    given.logits[missed, column] -= 4
    found = subgroups(given, records, Draws.of(given.patients, 100))["sex"]["groups"]
    entry = found["F"]["labels"]["Effusion"]
    assert entry["tpr_gap"] < -0.5
    assert entry["tpr_gap_ci95"][1] < -0.4
    assert entry["tpr_gap"] == pytest.approx(-found["M"]["labels"]["Effusion"]["tpr_gap"])
    assert abs(entry["fpr_gap"]) < 0.1
    assert found["F"]["gaps_to_disclose"] == ["Effusion"]
    assert found["F"]["largest_tpr_gap"]["label"] == "Effusion"
    assert found["F"]["labels"]["Effusion"]["auroc"] < found["M"]["labels"]["Effusion"]["auroc"] - 0.2


def test_underdiagnosis_is_a_finding_on_which_nothing_fires() -> None:
    given = scored(100)
    given.truth[:] = 0
    given.truth[:40, 0] = 1
    given.truth[40:50, 1] = np.nan
    given.logits[:] = -5
    given.logits[10:40, 5] = 5
    given.logits[50:60, 5] = 5
    records = [ImageRecord(str(i), str(i), frozenset(), None, "F", "PA") for i in range(100)]
    group = subgroups(given, records, Draws.of(given.patients, 30))["view"]["groups"]["PA"]
    assert group["underdiagnosis"] == pytest.approx(0.25)
    assert group["underdiagnosis_films"] == 40
    assert group["overdiagnosis"] == pytest.approx(0.2)
    assert group["overdiagnosis_films"] == 50

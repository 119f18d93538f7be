import numpy as np
import pytest

from ml.alarms import JOINT_BUDGET, LABEL_BUDGET, AlarmBudget, alarms, is_normal
from ml.labels import LABELS

PATIENTS = [str(index // 2) for index in range(2000)]
USABLE = np.ones(len(LABELS), dtype=bool)


def sample(films: int = 2000, shared: float = 0.0) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Probabilities (N, 14) that are higher for findings and, by `shared`, for films of the view AP."""
    rng = np.random.default_rng(3)
    truth = (rng.random((films, len(LABELS))) < 0.05).astype(np.float32)
    views = np.where(rng.random(films) < 0.4, "AP", "PA")
    scores = rng.normal(size=truth.shape) + 1.5 * truth + shared * (views == "AP")[:, None]
    return 1 / (1 + np.exp(-scores)), truth, views.tolist()


def test_alarms_are_counted_among_normal_films_only() -> None:
    truth = np.zeros((6, 14))
    truth[4, 0], truth[5, 3] = 1, np.nan
    positive = np.zeros((6, 14), dtype=bool)
    positive[0, 0] = positive[0, 1] = positive[1, 1] = positive[4, 2] = positive[5, 3] = True
    found = alarms(positive, truth, ["PA", "AP", "AP", "", "PA", "PA"], LABELS)
    assert is_normal(truth).tolist() == [True] * 4 + [False] * 2
    assert (found["share"], found["n"]) == (0.5, 4)
    assert found["ci95"][0] < 0.5 < found["ci95"][1]
    assert found["by_view"] == {"PA": 1.0, "AP": 0.5}
    assert (found["by_label"][LABELS[0]], found["by_label"][LABELS[1]], found["by_label"][LABELS[2]]) == (0.25, 0.5, 0)
    assert found["findings_flagged"] == {"share": 1.0, "n": 1}


def test_a_label_that_is_unknown_everywhere_makes_no_film_abnormal() -> None:
    truth = np.zeros((3, 14))
    truth[:, 2] = np.nan
    truth[0, 5], truth[1, 4] = 1, np.nan
    assert is_normal(truth).tolist() == [False, False, True]
    assert not is_normal(np.full((2, 14), np.nan)).any()


def test_without_normal_films_there_is_no_share() -> None:
    found = alarms(np.ones((2, 14), dtype=bool), np.ones((2, 14)), ["PA", "AP"], LABELS)
    assert found["share"] is found["ci95"] is found["by_view"]["AP"] is None
    assert found["findings_flagged"] == {"share": 1.0, "n": 2}


@pytest.mark.parametrize("shared", [0.0, 2.0])
def test_the_budget_holds_jointly_by_label_and_by_view(shared: float) -> None:
    probabilities, truth, views = sample(shared=shared)
    points = AlarmBudget().thresholds(probabilities, truth, views, PATIENTS, USABLE)
    found = alarms(probabilities >= points, truth, views, LABELS)
    shares = [found["share"] / JOINT_BUDGET, *(share / (1.2 * JOINT_BUDGET) for share in found["by_view"].values())]
    # Never flagging would keep the budget, too: it is used up to a step.
    assert 0.7 < max(shares) < 1.05
    assert max(found["by_label"].values()) <= LABEL_BUDGET


def test_new_patients_keep_the_budget_also_with_many_images_each() -> None:
    """A patient's images resemble each other, so the thresholds fit the patients that set them."""
    rng = np.random.default_rng(5)
    patients = np.repeat(np.arange(300), rng.integers(1, 9, 300))
    share = []
    for _ in range(6):
        scores = 1 / (1 + np.exp(-(rng.normal(size=(300, 14))[patients] + 0.3 * rng.normal(size=(len(patients), 14)))))
        normal, views = np.zeros((len(patients), 14)), ["PA"] * len(patients)
        old = patients < 150
        points = AlarmBudget().thresholds(scores[old], normal[old], views[: old.sum()], patients[old], USABLE)
        share.append((scores[~old] >= points).any(axis=1).mean())
    assert np.mean(share) < JOINT_BUDGET + 0.02


def test_one_label_alone_may_not_use_the_whole_budget() -> None:
    probabilities, truth, views = sample()
    usable = np.arange(len(LABELS)) == 2
    points = AlarmBudget().thresholds(probabilities, truth, views, PATIENTS, usable)
    assert np.isinf(points[~usable]).all()
    found = alarms(probabilities >= points, truth, views, LABELS)
    assert LABEL_BUDGET - 0.01 < found["by_label"][LABELS[2]] <= LABEL_BUDGET


def test_tied_scores_do_not_break_the_budget() -> None:
    probabilities, truth, views = sample()
    points = AlarmBudget().thresholds(probabilities.round(1), truth, views, PATIENTS, USABLE)
    found = alarms(probabilities.round(1) >= points, truth, views, LABELS)
    assert found["share"] <= JOINT_BUDGET + 0.01
    assert max(found["by_label"].values()) <= LABEL_BUDGET


def test_too_few_normal_films_are_refused() -> None:
    probabilities, truth, views = sample(60)
    truth[20:, 0] = 1
    with pytest.raises(ValueError, match="too few for an alarm budget"):
        AlarmBudget().thresholds(probabilities, truth, views, PATIENTS[:60], USABLE)

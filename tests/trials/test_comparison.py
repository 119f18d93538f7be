"""The figures of a comparison against published values, and the recommendation."""

import uuid
from dataclasses import replace
from itertools import count

import pytest
from django.utils import translation

from apps.trials.canary import ReadingCounts, ShareCount, sum_counts
from apps.trials.comparison import Call, Comparison, Pair, compare_pairs, exact_test, studies_until_alike
from apps.trials.recommendation import Advice, recommend

_numbers = count()


def pairs(both: int, serving: int, challenger: int, neither: int, present: bool | None = None) -> list[Pair]:
    """Studies by who flags Mass; readers reviewed the disputed ones, where ``present`` is given."""
    calls = [(0.9, 0.9)] * both + [(0.9, 0.1)] * serving + [(0.1, 0.9)] * challenger + [(0.1, 0.1)] * neither
    return [
        Pair(
            study_id=uuid.UUID(int=next(_numbers)),
            serving={"Mass": Call(one, 0.5)},
            challenger={"Mass": Call(other, 0.5)},
            present={} if present is None or one == other else {"Mass": present},
        )
        for one, other in calls
    ]


def test_agreement_and_kappa() -> None:
    # The example of Wikipedia's article on Cohen's kappa: 20, 5, 10, 15 give 0.7 and 0.4.
    (label,) = compare_pairs(pairs(20, 5, 10, 15)).labels
    assert (label.n, label.agreement) == (50, 0.7)
    assert label.kappa == pytest.approx(0.4)
    interval = label.agreement_interval
    assert interval is not None
    assert (interval.low, interval.high) == (pytest.approx(0.5625, abs=5e-4), pytest.approx(0.8090, abs=5e-4))
    assert label.mean_difference == pytest.approx(0.8 * 15 / 50)


def test_the_change_of_paired_shares() -> None:
    (label,) = compare_pairs(pairs(20, 5, 10, 15)).labels
    assert label.change == pytest.approx(0.1)
    interval = label.change_interval
    assert interval is not None
    # By hand: (11 - 6) / 52, and 1.96 times the root of (17/52 - (5/52)^2) / 52.
    assert interval.low == pytest.approx(5 / 52 - 1.959964 * ((17 / 52 - (5 / 52) ** 2) / 52) ** 0.5)
    assert interval.low < 0.1 < interval.high


@pytest.mark.parametrize(
    ("one", "other", "expected"), [(0, 0, None), (1, 9, 0.021484375), (0, 6, 0.03125), (0, 5, 0.0625), (5, 5, 1.0)]
)
def test_the_exact_test(one: int, other: int, expected: float | None) -> None:
    assert exact_test(one, other) == expected == exact_test(other, one)


def test_without_pairs_there_are_no_figures() -> None:
    empty = compare_pairs([])
    assert (empty.n, list(empty.labels)) == (0, [])
    pair = Pair(uuid.uuid4(), {"Hernia": Call(0.2, None), "Mass": Call(0.2, 0.5)}, {"Hernia": Call(0.3, 0.1)})
    found = compare_pairs([pair])
    assert found.not_read == ["Mass"]
    (label,) = found.labels
    assert (label.n, label.agreement, label.kappa, label.change) == (0, None, None, None)
    assert label.mean_difference == pytest.approx(0.1)
    (alike,) = compare_pairs(pairs(0, 0, 0, 10)).labels
    assert (alike.agreement, alike.kappa) == (1.0, None)


def test_a_study_counts_once_with_any_number_of_disputed_findings() -> None:
    labels = ("Mass", "Nodule", "Edema")
    pair = Pair(
        uuid.uuid4(), {each: Call(0.9, 0.5) for each in labels}, {each: Call(0.1, 0.5) for each in labels},
        present={"Mass": False, "Nodule": False, "Edema": True},
    )  # fmt: skip
    found = compare_pairs([pair])
    assert found.sides == (0, 1)
    assert [(each.serving_right, each.challenger_right) for each in found.labels] == [(0, 1), (0, 1), (1, 0)]


def advised(found: Comparison) -> tuple[Advice, str]:
    recommendation = recommend(found)
    return recommendation.advice, " ".join(recommendation.reasons)


def test_too_few_studies_lead_to_keep_watching() -> None:
    advice, why = advised(compare_pairs(pairs(10, 0, 0, 53)))
    assert advice == Advice.WATCH
    assert "37 more studies" in why
    assert "1 more study" in advised(compare_pairs(pairs(10, 0, 0, 89)))[1]


def test_readers_verdicts_decide_where_versions_disagree() -> None:
    won = compare_pairs([*pairs(20, 0, 12, 168, present=True), *pairs(0, 1, 0, 0, present=True)])
    advice, why = advised(won)
    assert advice == Advice.PROMOTE
    assert "readers sided with the challenger on 12 of 13 studies (exact binomial test, p = 0.00342)" in why
    lost = compare_pairs(pairs(20, 0, 12, 168, present=False))
    advice, why = advised(lost)
    assert advice == Advice.DO_NOT
    assert "on 0 of 12 studies" in why
    assert "better" not in advised(won)[1] + why


def test_the_recommendation_is_in_the_language_of_the_page() -> None:
    won = compare_pairs([*pairs(20, 0, 12, 168, present=True), *pairs(0, 1, 0, 0, present=True)])
    with translation.override("de"):
        advice = recommend(won)
        assert advice.headline == "Die Übernahme ist begründet"
        assert "in 12 von 13 Untersuchungen" in advice.reasons[0]
        assert "p = 0,00342" in advice.reasons[0]
        more = recommend(compare_pairs(pairs(20, 2, 40, 138))).reasons[0]
    assert more.startswith("Raumforderung: Sie würde mehr Untersuchungen markieren, um 19,0 %")
    with translation.override("es"):
        assert recommend(compare_pairs(pairs(10, 0, 0, 89))).reasons[0].startswith("Falta 1 estudio más.")


def test_unconfirmed_additional_flags_prevent_promotion() -> None:
    advice, why = advised(compare_pairs(pairs(20, 2, 40, 138)))
    assert advice == Advice.DO_NOT
    assert "Mass: it would flag more of the studies, by 19.0%" in why
    assert advised(compare_pairs(pairs(20, 2, 40, 138, present=True)))[0] == Advice.PROMOTE


def test_versions_that_read_alike_may_be_exchanged() -> None:
    advice, why = advised(compare_pairs(pairs(20, 0, 1, 279)))
    assert advice == Advice.PROMOTE
    assert "Whether either is better is not known" in why


@pytest.mark.parametrize("count", [6, 400])
def test_missing_operating_points_prevent_promotion(count: int) -> None:
    alike = pairs(count // 2, 0, 0, count // 2)
    silent = [replace(each, challenger={"Mass": Call(0.9, None)}) for each in alike]
    found = recommend(compare_pairs(silent))
    assert (found.advice, len(found.reasons)) == (Advice.WATCH, 1)
    assert "no operating point for Mass" in found.reasons[0]
    two = [replace(each, serving={**each.serving, "Pleural_Thickening": Call(0.2, 0.5)}) for each in alike]
    found = recommend(compare_pairs(two))
    assert found.advice == Advice.WATCH
    assert "no operating point for Pleural thickening" in found.reasons[0]
    neither = [replace(each, serving={"Mass": Call(0.9, None)}, challenger={"Mass": Call(0.9, None)}) for each in alike]
    assert recommend(compare_pairs(neither)).advice == Advice.WATCH


def test_the_recommendation_says_what_is_still_missing() -> None:
    found = compare_pairs(pairs(20, 2, 3, 175))
    (label,) = found.labels
    missing = studies_until_alike(label)
    advice, why = advised(found)
    assert advice == Advice.WATCH
    assert missing is not None
    assert f"{missing} more studies would show that both read alike" in why
    assert "verdicts on the disputed findings of at least 6 more studies" in why
    differing = int(0.025 * (200 + missing))
    assert advised(compare_pairs(pairs(200 + missing - differing, 0, differing, 0)))[0] == Advice.PROMOTE
    unlike = compare_pairs(pairs(20, 9, 9, 162, present=True))
    assert studies_until_alike(unlike.labels[0]) is None
    advice, why = advised(unlike)
    assert advice == Advice.WATCH
    assert "only readers can decide" in why
    assert "9 of 18 studies (exact binomial test, p = 1). This may be chance." in why


def test_refused_films_prevent_promotion() -> None:
    advice, why = advised(compare_pairs(pairs(20, 0, 0, 280), refused=15))
    assert advice == Advice.DO_NOT
    assert "refuses 15 of 315 films" in why
    assert advised(compare_pairs(pairs(20, 0, 0, 280), refused=2))[0] == Advice.PROMOTE


def test_a_canarys_flagged_share_is_compared_with_the_serving_versions() -> None:
    # Newcombe 1998 (Statist. Med. 17:873), table II, method 10: 56/70 and 48/80 differ by 0.0524 to 0.3339.
    one = ShareCount("Mass", serving=ReadingCounts(80, 48), canary=ReadingCounts(70, 56))
    assert one.change == pytest.approx(0.2)
    interval = one.change_interval
    assert interval is not None
    assert (interval.low, interval.high) == (pytest.approx(0.0524, abs=5e-5), pytest.approx(0.3339, abs=5e-5))
    (both,) = sum_counts([one, ShareCount("Mass", serving=ReadingCounts(20, 2, 3, 1), canary=ReadingCounts())])
    assert (both.serving, both.canary) == (ReadingCounts(100, 50, 3, 1), ReadingCounts(70, 56))
    assert ShareCount("Mass", ReadingCounts(5, 1), ReadingCounts()).change_interval is None

"""The recommendation that follows from a trial, by the rules in docs/model-registry.md."""

import enum
from dataclasses import dataclass

from apps.registry import engine
from apps.trials.comparison import (
    ALIKE,
    FEWEST_STUDIES,
    LARGE_CHANGE,
    LARGE_REFUSAL,
    SIGNIFICANT,
    Comparison,
    LabelCount,
    exact_test,
    studies_until_alike,
)

# The fewest unanimous verdicts that are significant in an exact test.
FEWEST_VERDICTS = 6


class Advice(enum.StrEnum):
    PROMOTE = "Promote is supported"
    WATCH = "Keep watching"
    DO_NOT = "Do not promote"


@dataclass(frozen=True)
class Recommendation:
    advice: Advice
    reasons: list[str]


def recommend(found: Comparison) -> Recommendation:
    """The advice for a trial, with its reasons.

    It never calls a version better unless readers have reviewed the findings on which the two disagree.
    """
    missing = _missing_points(found)
    if missing and not any(each.n for each in found.labels):
        return Recommendation(Advice.WATCH, missing)
    if found.n < FEWEST_STUDIES:
        return Recommendation(Advice.WATCH, [*missing, _too_few(found.n)])
    lost, won = found.sides
    chance = exact_test(lost, won)
    decided = chance is not None and chance < SIGNIFICANT
    against = _against(found, readers_for_it=decided and won > lost)
    verdicts = (
        f"Where the two disagree, readers sided with the challenger on {won} of {won + lost} {_studies(won + lost)}"
    )
    if decided and lost > won:
        against.insert(0, f"{verdicts} (exact binomial test, p = {chance:.3g}).")
    if against:
        return Recommendation(Advice.DO_NOT, against + missing)
    if decided and not missing:
        return Recommendation(Advice.PROMOTE, [f"{verdicts} (exact binomial test, p = {chance:.3g})."])
    unlike = [each for each in found.labels if each.n and not _alike(each)]
    if missing:
        return Recommendation(Advice.WATCH, missing)
    if not unlike:
        return Recommendation(
            Advice.PROMOTE,
            [
                (
                    f"Both read alike: for each finding they agree on more than {ALIKE:.0%} of {found.n} studies with "
                    "95 % confidence. Whether either is better is not known."
                )
            ],
        )
    return Recommendation(Advice.WATCH, _open_questions(unlike, won + lost, verdicts, chance))


def _missing_points(found: Comparison) -> list[str]:
    """A reason to wait: the comparison says nothing about findings without an operating point."""
    if not found.lost_points:
        has_points = any(each.n for each in found.labels) or not found.n
        return [] if has_points else ["Neither version has an operating point: choose their operating points."]
    names = ", ".join(label.replace("_", " ") for label in found.lost_points)
    return [
        f"It has no operating point for {names}, unlike the serving version: choose them, if it reads these findings."
    ]


def _too_few(n: int) -> str:
    missing = FEWEST_STUDIES - n
    return (
        f"{missing} more {_studies(missing)}: {n} {_have(n)} been read by both, and fewer than {FEWEST_STUDIES} say "
        "little."
    )


def _against(found: Comparison, *, readers_for_it: bool) -> list[str]:
    reasons = []
    seen = found.n + found.refused
    if engine.wilson(found.refused / seen, seen).low > LARGE_REFUSAL:
        reasons.append(f"It refuses {found.refused} of {seen} films that the serving version reads.")
    # One test for each finding, so Bonferroni's correction divides the error among them.
    strict = SIGNIFICANT / max(1, len(found.labels))
    for each in found.labels:
        if each.p_value is not None and each.p_value < strict and each.serving_right > each.challenger_right:
            reasons.append(
                f"{_name(each)}: readers sided with it on {each.challenger_right} of "
                f"{each.challenger_right + each.serving_right} (exact McNemar test, p = {each.p_value:.3g})."
            )
        interval = each.change_interval
        if interval is None or each.change is None or readers_for_it:
            continue
        if interval.low > LARGE_CHANGE or interval.high < -LARGE_CHANGE:
            reasons.append(
                f"{_name(each)}: it would flag {_direction(each.change)} of the studies, by {abs(each.change):.1%} "
                f"(95 % CI {interval.low:+.1%} to {interval.high:+.1%}), and readers have not shown that it is right. "
                "Choose its operating point first."
            )
    return reasons


def _open_questions(unlike: list[LabelCount], reviewed: int, verdicts: str, chance: float | None) -> list[str]:
    reasons = []
    more = {each.label: studies_until_alike(each) for each in unlike}
    countable = [number for number in more.values() if number is not None]
    if countable and len(countable) == len(unlike):
        number = max(countable)
        reasons.append(
            f"{number} more {_studies(number)} would show that both read alike, if they agree as often as now."
        )
    else:
        names = ", ".join(_name(each) for each in unlike if more[each.label] is None)
        reasons.append(f"They read differently ({names}), so that only readers can decide which one is right.")
    if reviewed:
        reasons.append(f"{verdicts}, which may be chance (p = {chance:.3g}).")
    if reviewed < FEWEST_VERDICTS:
        missing = FEWEST_VERDICTS - reviewed
        reasons.append(f"Readers' verdicts on the disputed findings of at least {missing} more {_studies(missing)}.")
    return reasons


def _alike(each: LabelCount) -> bool:
    interval = each.agreement_interval
    return interval is not None and interval.low > ALIKE


def _name(each: LabelCount) -> str:
    return each.label.replace("_", " ")


def _direction(change: float) -> str:
    return "more" if change > 0 else "fewer"


def _studies(number: int) -> str:
    return "study" if number == 1 else "studies"


def _have(number: int) -> str:
    return "has" if number == 1 else "have"

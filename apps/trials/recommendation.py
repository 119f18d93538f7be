"""The recommendation that follows from a trial, by the rules in docs/model-registry.md."""

import enum
from collections.abc import Iterable
from dataclasses import dataclass

from django.utils.formats import get_format
from django.utils.translation import gettext, gettext_noop, ngettext

from apps.core.finding_names import finding_name
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
    PROMOTE = gettext_noop("Promote is supported")
    WATCH = gettext_noop("Keep watching")
    DO_NOT = gettext_noop("Do not promote")


@dataclass(frozen=True)
class Recommendation:
    """An advice with its reasons, which are in the language in force."""

    advice: Advice
    reasons: list[str]

    @property
    def headline(self) -> str:
        return gettext(self.advice.value)


def recommend(found: Comparison) -> Recommendation:
    """The advice for a trial, with its reasons.

    It never calls a version better unless readers have reviewed the findings on which the two disagree.
    """
    missing = _missing_points(found)
    if missing and not any(each.n for each in found.labels):
        return Recommendation(Advice.WATCH, missing)
    if found.n < FEWEST_STUDIES:
        return Recommendation(Advice.WATCH, [*missing, *_too_few(found.n)])
    lost, won = found.sides
    chance = exact_test(lost, won)
    decided = chance is not None and chance < SIGNIFICANT
    against = _against(found, readers_for_it=decided and won > lost)
    if decided and lost > won:
        against.insert(0, _verdicts(won, lost, chance))
    if against:
        return Recommendation(Advice.DO_NOT, against + missing)
    if decided and not missing:
        return Recommendation(Advice.PROMOTE, [_verdicts(won, lost, chance)])
    if missing:
        return Recommendation(Advice.WATCH, missing)
    unlike = [each for each in found.labels if each.n and not _alike(each)]
    if not unlike:
        return Recommendation(Advice.PROMOTE, [_read_alike(found.n)])
    return Recommendation(Advice.WATCH, _open_questions(unlike, won, lost, chance))


def _verdicts(won: int, lost: int, chance: float | None) -> str:
    """What readers decided where the two disagree: at least one study has their verdict."""
    text = ngettext(
        "Where the two disagree, readers sided with the challenger on %(won)s of %(total)s study "
        "(exact binomial test, p = %(p)s).",
        "Where the two disagree, readers sided with the challenger on %(won)s of %(total)s studies "
        "(exact binomial test, p = %(p)s).",
        won + lost,
    )
    return text % {"won": won, "total": won + lost, "p": _decimal(f"{chance:.3g}")}


def _read_alike(n: int) -> str:
    return gettext(
        "Both read alike: for each finding they agree on more than %(share)s%% of %(n)s studies with 95%% confidence. "
        "Whether either is better is not known."
    ) % {"share": f"{100 * ALIKE:.0f}", "n": n}


def _missing_points(found: Comparison) -> list[str]:
    """A reason to wait: the comparison says nothing about findings without an operating point."""
    if not found.lost_points:
        has_points = any(each.n for each in found.labels) or not found.n
        return [] if has_points else [gettext("Neither version has an operating point: choose their operating points.")]
    text = gettext(
        "It has no operating point for %(findings)s, unlike the serving version: choose them, if it reads these "
        "findings."
    )
    return [text % {"findings": _names(found.lost_points)}]


def _too_few(n: int) -> list[str]:
    missing = FEWEST_STUDIES - n
    more = ngettext("%(missing)s more study is needed.", "%(missing)s more studies are needed.", missing)
    until_now = ngettext(
        "Both have read %(n)s study until now, and fewer than %(fewest)s say little.",
        "Both have read %(n)s studies until now, and fewer than %(fewest)s say little.",
        n,
    )
    return [f"{more % {'missing': missing}} {until_now % {'n': n, 'fewest': FEWEST_STUDIES}}"]


def _against(found: Comparison, *, readers_for_it: bool) -> list[str]:
    reasons = []
    seen = found.n + found.refused
    if engine.wilson(found.refused / seen, seen).low > LARGE_REFUSAL:
        text = gettext("It refuses %(refused)s of %(seen)s films that the serving version reads.")
        reasons.append(text % {"refused": found.refused, "seen": seen})
    # One test for each finding, so Bonferroni's correction divides the error among them.
    strict = SIGNIFICANT / max(1, len(found.labels))
    for each in found.labels:
        if each.p_value is not None and each.p_value < strict and each.serving_right > each.challenger_right:
            reasons.append(_sided_against(each, each.p_value))
        interval = each.change_interval
        if interval is None or each.change is None or readers_for_it:
            continue
        if interval.low > LARGE_CHANGE or interval.high < -LARGE_CHANGE:
            reasons.append(_changed_share(finding_name(each.label), each.change, interval))
    return reasons


def _sided_against(each: LabelCount, p_value: float) -> str:
    text = gettext("%(finding)s: readers sided with it on %(won)s of %(total)s (exact McNemar test, p = %(p)s).")
    total = each.challenger_right + each.serving_right
    values = {"won": each.challenger_right, "total": total, "p": _decimal(f"{p_value:.3g}")}
    return text % {"finding": finding_name(each.label), **values}


def _changed_share(finding: str, change: float, interval: engine.Interval) -> str:
    if change > 0:
        text = gettext(
            "%(finding)s: it would flag more of the studies, by %(change)s%% (95%% CI %(low)s%% to %(high)s%%), and "
            "readers have not shown that it is right. Choose its operating point first."
        )
    else:
        text = gettext(
            "%(finding)s: it would flag fewer of the studies, by %(change)s%% (95%% CI %(low)s%% to %(high)s%%), and "
            "readers have not shown that it is right. Choose its operating point first."
        )
    low, high = (_decimal(f"{100 * value:+.1f}") for value in (interval.low, interval.high))
    return text % {"finding": finding, "change": _decimal(f"{100 * abs(change):.1f}"), "low": low, "high": high}


def _open_questions(unlike: list[LabelCount], won: int, lost: int, chance: float | None) -> list[str]:
    reasons = []
    more = {each.label: studies_until_alike(each) for each in unlike}
    countable = [number for number in more.values() if number is not None]
    if countable and len(countable) == len(unlike):
        number = max(countable)
        text = ngettext(
            "%(number)s more study would show that both read alike, if they agree as often as now.",
            "%(number)s more studies would show that both read alike, if they agree as often as now.",
            number,
        )
        reasons.append(text % {"number": number})
    else:
        names = _names(label for label, number in more.items() if number is None)
        text = gettext("They read differently (%(findings)s), so that only readers can decide which one is right.")
        reasons.append(text % {"findings": names})
    reviewed = won + lost
    if reviewed:
        reasons.append(f"{_verdicts(won, lost, chance)} {gettext('This may be chance.')}")
    if reviewed < FEWEST_VERDICTS:
        missing = FEWEST_VERDICTS - reviewed
        text = ngettext(
            "Readers' verdicts on the disputed findings of at least %(missing)s more study are needed.",
            "Readers' verdicts on the disputed findings of at least %(missing)s more studies are needed.",
            missing,
        )
        reasons.append(text % {"missing": missing})
    return reasons


def _alike(each: LabelCount) -> bool:
    interval = each.agreement_interval
    return interval is not None and interval.low > ALIKE


def _names(labels: Iterable[str]) -> str:
    return ", ".join(finding_name(label) for label in labels)


def _decimal(text: str) -> str:
    """A number as the language in force writes it."""
    return text.replace(".", str(get_format("DECIMAL_SEPARATOR")))

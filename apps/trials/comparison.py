"""Agreement of a challenger with the serving version: counts, intervals and tests.

No figure here says that one of them is better, unless readers have reviewed the findings on which the two disagree.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from uuid import UUID

from apps.registry import engine

# A share of fewer studies says little.
FEWEST_STUDIES = 100
# Only the latest pairs are compared. More would hardly narrow the intervals, and older ones come from older patients
# and machines.
MOST_STUDIES = 2000
# Two versions read alike if, for each finding, the interval of their agreement lies above this share.
ALIKE = 0.95
# A larger change of the share of flagged studies changes the work of a department.
LARGE_CHANGE = 0.05
# A challenger may refuse at most this share of the films that the serving version read.
LARGE_REFUSAL = 0.02
SIGNIFICANT = 0.05
_Z = 1.959964


@dataclass(frozen=True)
class Call:
    """A calibrated probability, and whether it was flagged; None where there is no operating point."""

    probability: float
    threshold: float | None

    @property
    def flagged(self) -> bool | None:
        return None if self.threshold is None else self.probability >= self.threshold


@dataclass(frozen=True)
class Pair:
    """One study as both versions read it, by label; ``present`` holds the readers' verdicts, where there are any."""

    study_id: UUID
    serving: Mapping[str, Call]
    challenger: Mapping[str, Call]
    present: Mapping[str, bool] = field(default_factory=dict)

    def differs(self, label: str) -> bool:
        one, other = self.serving[label].flagged, self.challenger[label].flagged
        return one is not None and other is not None and one != other

    @cached_property
    def disputed(self) -> list[str]:
        """The findings that one flags and the other does not."""
        return [label for label in self.serving if label in self.challenger and self.differs(label)]

    def sides_with_challenger(self, label: str) -> bool | None:
        """Whether readers sided with the challenger on a disputed finding; None where no reader has reviewed it."""
        there = self.present.get(label)
        return None if there is None else self.challenger[label].flagged == there


@dataclass(frozen=True)
class LabelCount:
    """One finding over all pairs for which both versions have an operating point.

    ``lost_points`` counts the pairs for which only the serving version has one.
    """

    label: str
    both: int
    serving_only: int
    challenger_only: int
    neither: int
    mean_difference: float | None
    serving_right: int
    challenger_right: int
    lost_points: int

    @property
    def n(self) -> int:
        return self.both + self.serving_only + self.challenger_only + self.neither

    @property
    def agreement(self) -> float | None:
        return (self.both + self.neither) / self.n if self.n else None

    @property
    def agreement_interval(self) -> engine.Interval | None:
        return engine.wilson((self.both + self.neither) / self.n, self.n) if self.n else None

    @property
    def kappa(self) -> float | None:
        """Cohen 1960; None where chance alone would agree on every study."""
        if not self.n:
            return None
        one = (self.both + self.serving_only) / self.n
        other = (self.both + self.challenger_only) / self.n
        by_chance = one * other + (1 - one) * (1 - other)
        return None if by_chance == 1.0 else ((self.both + self.neither) / self.n - by_chance) / (1 - by_chance)

    @property
    def change(self) -> float | None:
        """The rise of the share of flagged studies, -1 to 1."""
        return (self.challenger_only - self.serving_only) / self.n if self.n else None

    @property
    def change_interval(self) -> engine.Interval | None:
        """95 % interval of the change in paired shares: Wald's after Laplace's adjustment (Bonett and Price 2012)."""
        if not self.n:
            return None
        up, down = (self.challenger_only + 1) / (self.n + 2), (self.serving_only + 1) / (self.n + 2)
        half = _Z * math.sqrt((up + down - (up - down) ** 2) / (self.n + 2))
        return engine.Interval(max(-1.0, up - down - half), min(1.0, up - down + half))

    @property
    def p_value(self) -> float | None:
        """McNemar's exact test of the readers' verdicts; None where they reviewed no disputed finding."""
        return exact_test(self.serving_right, self.challenger_right)


def exact_test(one: int, other: int) -> float | None:
    """Two-sided exact binomial test of equal chances for both sides; None without observations."""
    n = one + other
    if not n:
        return None
    tail = sum(math.comb(n, k) for k in range(min(one, other) + 1)) / 2**n
    return min(1.0, 2 * tail)


@dataclass(frozen=True)
class Comparison:
    """The comparison of a challenger with the serving version.

    Attributes:
        refused, failed: films that the serving version read and the challenger refused or failed to read.
        waiting: films that the challenger has not read yet.
        not_read: findings of the serving version that the challenger does not have.
    """

    pairs: Sequence[Pair]
    labels: Sequence[LabelCount]
    not_read: Sequence[str]
    refused: int
    failed: int
    waiting: int

    @property
    def n(self) -> int:
        return len(self.pairs)

    @property
    def is_full(self) -> bool:
        return self.n >= MOST_STUDIES

    @cached_property
    def sides(self) -> tuple[int, int]:
        """The numbers of studies on which readers sided mostly with the serving version, and with the challenger.

        Findings of one study are not independent, so a study counts once.
        """
        scores = []
        for pair in self.pairs:
            verdicts = [pair.sides_with_challenger(label) for label in pair.disputed]
            scores.append(sum(1 if verdict else -1 for verdict in verdicts if verdict is not None))
        return sum(score < 0 for score in scores), sum(score > 0 for score in scores)

    @property
    def lost_points(self) -> list[str]:
        """The findings for which only the serving version has an operating point."""
        return [*(each.label for each in self.labels if each.lost_points), *self.not_read]

    @property
    def disputed(self) -> int:
        return sum(bool(pair.disputed) for pair in self.pairs)


def compare_pairs(pairs: Sequence[Pair], *, refused: int = 0, failed: int = 0, waiting: int = 0) -> Comparison:
    """Compare the results of both versions on the same studies."""
    serving = list(dict.fromkeys(label for pair in pairs for label in pair.serving))
    known = {label for pair in pairs for label in pair.challenger}
    labels = [_count(label, pairs) for label in serving if label in known]
    return Comparison(pairs, labels, [each for each in serving if each not in known], refused, failed, waiting)


def _count(label: str, pairs: Sequence[Pair]) -> LabelCount:
    read = [pair for pair in pairs if label in pair.serving and label in pair.challenger]
    calls = [(pair.serving[label].flagged, pair.challenger[label].flagged) for pair in read]
    verdicts = [pair.sides_with_challenger(label) for pair in read if pair.differs(label)]
    differences = [abs(pair.serving[label].probability - pair.challenger[label].probability) for pair in read]
    return LabelCount(
        label=label,
        both=calls.count((True, True)),
        serving_only=calls.count((True, False)),
        challenger_only=calls.count((False, True)),
        neither=calls.count((False, False)),
        mean_difference=math.fsum(differences) / len(differences) if differences else None,
        serving_right=verdicts.count(False),
        challenger_right=verdicts.count(True),
        lost_points=sum(one is not None and other is None for one, other in calls),
    )


def studies_until_alike(count: LabelCount) -> int | None:
    """How many more studies would show that both read a finding alike, at their present rate of agreement.

    None where `MOST_STUDIES` would not suffice.
    """
    if not count.n or count.agreement is None or count.agreement <= ALIKE:
        return None
    total = count.n
    while engine.wilson(count.agreement, total).low < ALIKE:
        total = math.ceil(total * 1.05)
        if total > MOST_STUDIES:
            return None
    return total - count.n

"""Figures of a canary beside the serving version: shares, because the two read studies of different patients."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from apps.registry import engine


@dataclass(frozen=True)
class ReadingCounts:
    """One version's readings of one finding: all, flagged, reviewed by readers, and those with which readers agreed."""

    n: int = 0
    flagged: int = 0
    reviewed: int = 0
    agreed: int = 0

    def __add__(self, other: "ReadingCounts") -> "ReadingCounts":
        return ReadingCounts(
            self.n + other.n, self.flagged + other.flagged, self.reviewed + other.reviewed, self.agreed + other.agreed
        )

    @property
    def share(self) -> float | None:
        return self.flagged / self.n if self.n else None


@dataclass(frozen=True)
class ShareCount:
    """One finding's counts, on the serving version's studies and on the canary's."""

    label: str
    serving: ReadingCounts
    canary: ReadingCounts

    @property
    def change(self) -> float | None:
        one, other = self.serving.share, self.canary.share
        return None if one is None or other is None else other - one

    @property
    def change_interval(self) -> engine.Interval | None:
        """95 % interval of the difference of independent shares, from Wilson's of each (Newcombe 1998, method 10)."""
        one, other = self.serving.share, self.canary.share
        if one is None or other is None:
            return None
        of_one, of_other = engine.wilson(one, self.serving.n), engine.wilson(other, self.canary.n)
        return engine.Interval(
            other - one - math.hypot(other - of_other.low, of_one.high - one),
            other - one + math.hypot(of_other.high - other, one - of_one.low),
        )


def sum_counts(counts: Iterable[ShareCount]) -> list[ShareCount]:
    """Add the counts of several hospitals, by finding."""
    found: dict[str, ShareCount] = {}
    for each in counts:
        former = found.get(each.label, ShareCount(each.label, ReadingCounts(), ReadingCounts()))
        found[each.label] = ShareCount(each.label, former.serving + each.serving, former.canary + each.canary)
    return list(found.values())

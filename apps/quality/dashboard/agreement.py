"""Agreement: what the signed reports say of the AI's findings, over the studies of a period.

`apps.quality.outcomes` says what counts.
"""

import datetime
from dataclasses import dataclass
from functools import cached_property

from django.db.models import Count, Q

from apps.quality.dashboard.scope import FEWEST_STUDIES, Scope
from apps.quality.models import CountedFinding, Outcome
from apps.registry import engine


@dataclass(frozen=True)
class Agreement:
    """Of the findings on which a signed report says something, how many agree with the AI.

    Attributes:
        label: of the finding; empty for all of them.
        studies: on which the verdicts were given.
        flags, confirmed: those that the AI flagged, and of these the ones that the reader did not disagree with.
    """

    label: str = ""
    studies: int = 0
    agreed: int = 0
    disagreed: int = 0
    corrected: int = 0
    added: int = 0
    flags: int = 0
    confirmed: int = 0

    @property
    def verdicts(self) -> int:
        return self.agreed + self.disagreed + self.corrected + self.added

    @property
    def is_shown(self) -> bool:
        """Whether there are enough studies: the counts of few would be findings of patients."""
        return self.studies >= FEWEST_STUDIES

    @property
    def share(self) -> float | None:
        """None where it is not shown."""
        return self.agreed / self.verdicts if self.is_shown else None

    @cached_property
    def interval(self) -> "engine.Interval | None":
        """95 %, by Wilson's method."""
        return None if self.share is None else engine.wilson(self.share, self.verdicts)


def agreement_by_label(scope: Scope) -> list[Agreement]:
    """All findings together first, then each one with a verdict, in the order of the models' labels."""
    counted = scope.of_studies(CountedFinding.objects.all())
    found = {row["label"]: Agreement(**row) for row in counted.values("label").annotate(**_COUNTS)}
    sums = {name: sum(getattr(each, name) for each in found.values()) for name in _COUNTS}
    whole = Agreement(**sums | {"studies": counted.aggregate(studies=_STUDIES)["studies"]})
    return [whole, *(found[label] for label in engine.LABELS if label in found)]


def agreement_by_step(scope: Scope) -> dict[datetime.date, Agreement]:
    """Over all findings, by the first day of the step in which the studies arrived."""
    counted = scope.of_studies(CountedFinding.objects.all()).values(start=scope.start_of("study__received"))
    found = {row.pop("start").date(): Agreement(**row) for row in counted.annotate(**_COUNTS)}
    return {start: found.get(start, Agreement()) for start in scope.starts}


_STUDIES = Count("study", distinct=True)
_COUNTS = (
    {"studies": _STUDIES}
    | {str(outcome): Count("pk", filter=Q(outcome=outcome)) for outcome in Outcome}
    | {
        "flags": Count("pk", filter=Q(flagged=True)),
        "confirmed": Count("pk", filter=Q(flagged=True) & ~Q(outcome=Outcome.DISAGREED)),
    }
)

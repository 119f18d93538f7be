"""Counts of readers' verdicts per finding and version, of the tenant in force."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from django.db.models import Count, Q

from apps.core.csv_text import as_csv
from apps.quality.models import CountedFinding, Outcome
from apps.registry import engine
from apps.registry.models import ModelVersion

FEWEST_VERDICTS = 50
"""A share of a hospital's own is shown from so many verdicts on."""

_COLUMNS = (
    "version", "finding", "flagged_agreed", "flagged_disagreed", "flagged_corrected",
    "not_flagged_agreed", "not_flagged_corrected", "added", "flagged_verdicts", "confirmed", "share", "low", "high",
)  # fmt: skip


@dataclass(frozen=True)
class ConfirmedShare:
    """How many of the findings that the AI flagged the readers confirmed."""

    confirmed: int
    verdicts: int

    @property
    def share(self) -> float:
        return self.confirmed / self.verdicts

    @property
    def interval(self) -> "engine.Interval":
        """Wilson's 95 % interval."""
        return engine.wilson(self.share, self.verdicts)


@dataclass
class LabelCounts:
    """The outcomes of one finding: of what the AI flagged, and of what it did not."""

    label: str
    flagged: dict[str, int] = field(default_factory=dict)
    not_flagged: dict[str, int] = field(default_factory=dict)

    @property
    def agreed(self) -> int:
        return self.flagged.get(Outcome.AGREED, 0)

    @property
    def disagreed(self) -> int:
        return self.flagged.get(Outcome.DISAGREED, 0)

    @property
    def corrected(self) -> int:
        """Where the reader changed the AI's call and the finding is present."""
        return self.flagged.get(Outcome.CORRECTED, 0) + self.not_flagged.get(Outcome.CORRECTED, 0)

    @property
    def added(self) -> int:
        return self.not_flagged.get(Outcome.ADDED, 0)

    @property
    def absence_agreed(self) -> int:
        """Where the AI did not flag it and the reader agreed."""
        return self.not_flagged.get(Outcome.AGREED, 0)

    @property
    def studies(self) -> int:
        return sum(self.flagged.values()) + sum(self.not_flagged.values())

    @property
    def confirmed(self) -> ConfirmedShare | None:
        """None where the AI flagged none that a reader gave a verdict on."""
        verdicts = sum(self.flagged.values())
        return ConfirmedShare(verdicts - self.disagreed, verdicts) if verdicts else None


@dataclass(frozen=True)
class VersionCounts:
    """The counts of one version, by label."""

    version: ModelVersion
    labels: Sequence[LabelCounts]
    studies: int


def counts_by_version(*, fewest: int = 1) -> list[VersionCounts]:
    """The counts of each version whose results readers have signed reports on, the latest version first.

    Args:
        fewest: a finding with verdicts on fewer studies is left out.
    """
    rows = CountedFinding.objects.values("model_version", "label", "flagged", "outcome").annotate(n=Count("id"))
    found: dict[UUID, dict[str, LabelCounts]] = {}
    for row in rows.order_by("label"):
        labels = found.setdefault(row["model_version"], {})
        counts = labels.setdefault(row["label"], LabelCounts(row["label"]))
        (counts.flagged if row["flagged"] else counts.not_flagged)[row["outcome"]] = row["n"]
    studies = dict(
        CountedFinding.objects.values_list("model_version").annotate(Count("study", distinct=True)).order_by()
    )
    versions = ModelVersion.objects.filter(pk__in=found).order_by("-registered")
    return [
        VersionCounts(each, [of for of in found[each.pk].values() if of.studies >= fewest], studies[each.pk])
        for each in versions
    ]


def confirmed_shares(version: ModelVersion, labels: Collection[str]) -> dict[str, ConfirmedShare]:
    """How often readers here confirmed these findings where this version flagged them; only from enough verdicts on."""
    if not labels:
        return {}
    rows = CountedFinding.objects.filter(model_version=version, label__in=labels, flagged=True)
    counted = rows.values("label").annotate(
        verdicts=Count("id"), confirmed=Count("id", filter=~Q(outcome=Outcome.DISAGREED))
    )
    return {
        row["label"]: ConfirmedShare(row["confirmed"], row["verdicts"])
        for row in counted.order_by()
        if row["verdicts"] >= FEWEST_VERDICTS
    }


def counts_as_csv(found: Sequence[VersionCounts]) -> str:
    """The counts as CSV, one row for each version and finding."""
    return as_csv(_COLUMNS, (_cells(each.version, counts) for each in found for counts in each.labels))


def _cells(version: ModelVersion, counts: LabelCounts) -> list[object]:
    flagged = [counts.flagged.get(outcome, 0) for outcome in (Outcome.AGREED, Outcome.DISAGREED, Outcome.CORRECTED)]
    others = [counts.not_flagged.get(outcome, 0) for outcome in (Outcome.AGREED, Outcome.CORRECTED, Outcome.ADDED)]
    confirmed = counts.confirmed
    measured: list[object] = [0, 0, None, None, None]
    if confirmed is not None:
        is_shown = confirmed.verdicts >= FEWEST_VERDICTS
        share = [confirmed.share, *confirmed.interval.pair()] if is_shown else [None, None, None]
        measured = [confirmed.verdicts, confirmed.confirmed, *share]
    return [str(version), counts.label, *flagged, *others, *measured]

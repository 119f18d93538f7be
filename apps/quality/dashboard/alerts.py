"""The alert rate: of the studies that a version read, the share that it flagged, by finding and for any finding."""

import datetime
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from uuid import UUID

from django.contrib.postgres.fields import ArrayField
from django.db.models import Case, CharField, Count, F, Func, Q, QuerySet, Value, When

from apps.core.work_queue import JobState
from apps.deployment.models import DriftWeek
from apps.deployment.selectors import thresholds_for
from apps.quality.dashboard.scope import FEWEST_STUDIES, Scope
from apps.registry import engine
from apps.registry.models import ModelVersion
from apps.tenants.models import Tenant

ANY = "any"
"""Stands in the place of a label for the studies with at least one flagged finding."""
_LABELS = ArrayField(CharField(max_length=40))


@dataclass(frozen=True)
class AlertRate:
    """How many of the studies in which a version read a finding it flagged.

    Attributes:
        label: of the finding, or `ANY`.
        expected: the share in what the version's weeks are compared with (`apps.inference.drift`); None where no week
            was compared.
        is_outside: the last compared week was outside the control limits of this share.
    """

    label: str
    read: int
    flagged: int
    expected: float | None = None
    is_outside: bool = False

    @property
    def is_shown(self) -> bool:
        return self.read >= FEWEST_STUDIES

    @property
    def share(self) -> float | None:
        return self.flagged / self.read if self.is_shown else None

    @cached_property
    def interval(self) -> "engine.Interval | None":
        """95 %, by Wilson's method."""
        return None if self.share is None else engine.wilson(self.share, self.read)


@dataclass(frozen=True)
class VersionAlerts:
    """The alert rates of one version; ``week`` is the last one that was compared with a reference."""

    version: ModelVersion
    rates: list[AlertRate]
    week: datetime.date | None

    @property
    def any(self) -> AlertRate:
        return self.rates[0]


def alerts_by_version(scope: Scope, tenant: Tenant) -> list[VersionAlerts]:
    """Each version that read a study of the period last, the newest first, with `ANY` before its findings.

    A finding that the version has no operating point for is left out.
    """
    counts: dict[UUID, Counter[str]] = {}
    wholly: dict[UUID, int] = {}
    rows = _read(scope).values("is_partly_read", version=F("job__model_version"), mark=_MARK).annotate(n=Count("pk"))
    for row in rows:
        counts.setdefault(row["version"], Counter())[row["mark"]] += row["n"]
        if row["mark"] == _READ and not row["is_partly_read"]:
            wholly[row["version"]] = row["n"]
    partly: QuerySet[Any, dict[str, Any]] = (
        _read(scope).filter(is_partly_read=True).values(version=F("job__model_version"))
    )
    by_label = {row.pop("version"): row for row in partly.annotate(**_READ_BY_LABEL)}
    return [
        _version_alerts(
            version, counts[version.pk], tenant,
            {label: n + wholly.get(version.pk, 0) for label, n in by_label.get(version.pk, _NONE).items()},
        )
        for version in ModelVersion.objects.filter(pk__in=counts).order_by("-pk")
    ]  # fmt: skip


def alerts_by_step(scope: Scope) -> dict[datetime.date, AlertRate]:
    """The studies with a flagged finding, by the first day of each step, over all versions."""
    rows = (
        _read(scope)
        .values(start=scope.start_of("received"))
        .annotate(read=Count("pk"), any=Count("pk", filter=~Q(flagged=[])))
    )
    found = {row["start"].date(): AlertRate(ANY, row["read"], row["any"]) for row in rows}
    return {start: found.get(start, AlertRate(ANY, 0, 0)) for start in scope.starts}


_READ = "read"
# Each row counts once as read, once for each flagged label, and once if it has any: one scan finds all of them, where a
# count for each label would look into each row's labels fourteen times.
_MARK = Func(
    Case(
        When(flagged=[], then=Value([_READ], _LABELS)),
        default=Func(F("flagged"), Value([_READ, ANY], _LABELS), function="array_cat"),
        output_field=_LABELS,
    ),
    function="unnest",
    output_field=CharField(),
)
_READ_BY_LABEL = {label: Count(f"probabilities__{place}") for place, label in enumerate(engine.LABELS)}
_NONE = dict.fromkeys(engine.LABELS, 0)


def _read(scope: Scope) -> QuerySet[Any]:
    return scope.entries().filter(status=JobState.COMPLETE)


def _version_alerts(
    version: ModelVersion, counts: Mapping[str, int], tenant: Tenant, read: Mapping[str, int]
) -> VersionAlerts:
    """The rates of a version.

    Args:
        counts: by `_READ`, `ANY` and label.
        read: in how many of the studies each label was read: it was not stopped then.
    """
    week = DriftWeek.objects.filter(for_tenant=tenant, model_version=version).exclude(figures=[]).first()
    expected = _by_label(week.figures, "expected") if week else {}
    outside = _by_label(week.alarms, "value") if week else {}
    points = thresholds_for(version, tenant.pk)
    rates = [
        AlertRate(label, read[label], counts[label], expected.get(label), label in outside)
        for label in version.manifest["labels"]
        if read.get(label) and points.get(label) is not None
    ]
    return VersionAlerts(version, [AlertRate(ANY, counts[_READ], counts[ANY]), *rates], week.week if week else None)


def _by_label(figures: Iterable[dict[str, Any]], name: str) -> dict[str, float]:
    return {each["label"]: each[name] for each in figures if each["what"] == "flagged"}

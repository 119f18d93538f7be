"""What served a tenant, by the ledger entries that concerned it, and what a change meant for each finding."""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import F, Q, QuerySet

from apps.audit.models import AuditEvent
from apps.core.errors import NotFoundError
from apps.deployment.models import Activation
from apps.deployment.points import OperatingCurve, operating_curves
from apps.registry.models import ModelVersion

Act = Activation.Act
_VERSION_ACTS = (Act.ACTIVATED, Act.ROLLED_BACK, Act.UNPINNED)
_SHOWN_ACTS = (*_VERSION_ACTS, Act.CANARY, Act.AI_STOPPED, Act.AI_STARTED)
_MOST_ENTRIES = 100


@dataclass(frozen=True)
class FindingPoint:
    """A finding's operating point, with its sensitivity and specificity where films of known truth gave a curve."""

    threshold: float | None
    sensitivity: float | None = None
    specificity: float | None = None


@dataclass(frozen=True)
class FindingChange:
    """A finding before and after a change of version; None where that version does not read it."""

    label: str
    before: FindingPoint | None
    after: FindingPoint | None

    @property
    def is_same(self) -> bool:
        return self.before == self.after


def changes_version(entry: Activation) -> bool:
    """Whether an entry put another version in the place of one."""
    return entry.act in _VERSION_ACTS and entry.from_version_id not in (None, entry.to_version_id)


def service_history(tenant_id: UUID) -> list[Activation]:
    """The entries that concerned the tenant in force, newest first: versions, canaries and stops."""
    entries = list(_entries(tenant_id).filter(act__in=_SHOWN_ACTS)[:_MOST_ENTRIES])
    return [entry for entry in entries if entry.pk in _concerning(entries)]


def version_change(tenant_id: UUID, number: int) -> Activation:
    """The change of version with this number of the ledger.

    Raises:
        NotFoundError: there is none that concerned the tenant in force.
    """
    entry = _entries(tenant_id).filter(number=number).first()
    if entry is None or not changes_version(entry) or entry.pk not in _concerning([entry]):
        raise NotFoundError("There is no such change of version in this hospital.", "change-not-found")
    return entry


def latest_version_change(tenant_id: UUID, *, after: int, since: datetime.datetime) -> Activation | None:
    """The latest change of version of the tenant in force, later than an entry and a time; None without one."""
    entries = _entries(tenant_id).filter(act__in=_VERSION_ACTS, number__gt=after, at__gt=since)
    entries = entries.exclude(from_version=None).exclude(from_version=F("to_version"))
    return next((entry for entry in entries[:_MOST_ENTRIES] if _concerning([entry])), None)


def finding_changes(entry: Activation, tenant_id: UUID) -> list[FindingChange]:
    """Each finding of the two versions, with the operating points that the tenant had before and after the entry."""
    assert entry.from_version is not None
    before = _points(entry.from_version, entry.points_before.get(str(tenant_id), {}))
    after = _points(entry.to_version, entry.points_after.get(str(tenant_id), {}))
    return [FindingChange(label, before.get(label), after.get(label)) for label in dict.fromkeys([*before, *after])]


def _entries(tenant_id: UUID) -> "QuerySet[Activation]":
    entries = Activation.objects.filter(Q(for_tenant=tenant_id) | Q(for_tenant=None))
    return entries.select_related("from_version", "to_version")


def _concerning(entries: list[Activation]) -> set[UUID]:
    """The entries that the audit trail of the tenant in force names: an entry of the platform may not concern it."""
    events = AuditEvent.objects.filter(object_id__in=[entry.pk for entry in entries])
    return {pk for pk in events.values_list("object_id", flat=True) if pk is not None}


def _points(version: ModelVersion, chosen: Mapping[str, Any]) -> dict[str, FindingPoint]:
    curves = operating_curves(version)
    return {
        label: _point(chosen.get(label) or version.thresholds[label], curves.get(label))
        for label in version.manifest["labels"]
    }


def _point(stored: Mapping[str, Any] | None, curve: OperatingCurve | None) -> FindingPoint:
    if stored is None:
        return FindingPoint(None)
    value = float(stored["value"])
    return FindingPoint(value, *curve.at(value)) if curve else FindingPoint(value)

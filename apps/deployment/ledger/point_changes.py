"""The history of a tenant's operating points, from the ledger entries that changed them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Q

from apps.deployment.models import Activation
from apps.deployment.points import Point, describe_point

_MOST_ENTRIES = 200


@dataclass(frozen=True)
class PointChange:
    """One finding's operating point before and after one ledger entry, as text."""

    at: datetime
    number: int
    label: str
    before: str
    after: str
    version: str
    by_id: UUID | None
    is_own: bool
    reason: str


def point_changes(tenant_id: UUID, label: str | None = None) -> list[PointChange]:
    """The changes of a tenant's operating points, newest first.

    Points of challengers are left out: the tenant sees only what the serving version flags. The reason of an entry of
    the platform is left out too, because it may concern other tenants.
    """
    key = str(tenant_id)
    entries = Activation.objects.filter(Q(points_before__has_key=key) | Q(points_after__has_key=key))
    entries = entries.exclude(act__in=Activation.ASIDE).select_related("from_version", "to_version")
    found = []
    for entry in entries[:_MOST_ENTRIES]:
        before, after = entry.points_before.get(key, {}), entry.points_after.get(key, {})
        is_own = entry.for_tenant_id == tenant_id
        found += [
            PointChange(
                at=entry.at,
                number=entry.number,
                label=each,
                before=describe_point(_point(before, each), entry.from_version, each),
                after=describe_point(_point(after, each), entry.to_version, each),
                version=str(entry.to_version),
                by_id=entry.by_id,
                is_own=is_own,
                reason=entry.reason if is_own else "",
            )
            for each in sorted({*before, *after})
            if before.get(each) != after.get(each) and label in (None, each)
        ]
    return found


def _point(points: Mapping[str, Any], label: str) -> Point | None:
    return Point(**points[label]) if label in points else None

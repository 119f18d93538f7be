"""How a tenant's operating points came to be: the lines of the ledger that changed them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Q

from apps.deployment.models import Activation
from apps.deployment.points import Point, describe_point

_LINES = 200


@dataclass(frozen=True)
class PointChange:
    """One finding's point before and after one line, in words."""

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
    """Newest first, without the points of versions on trial, by which nothing is judged that is shown as serving.

    Why the platform moved everybody's version is the platform's own: the reason is left out there.
    """
    key = str(tenant_id)
    lines = Activation.objects.filter(Q(points_before__has_key=key) | Q(points_after__has_key=key))
    lines = lines.exclude(act__in=Activation.ASIDE).select_related("from_version", "to_version")
    found = []
    for line in lines[:_LINES]:
        before, after = line.points_before.get(key, {}), line.points_after.get(key, {})
        is_own = line.for_tenant_id == tenant_id
        found += [
            PointChange(
                at=line.at,
                number=line.number,
                label=each,
                before=describe_point(_point(before, each), line.from_version, each),
                after=describe_point(_point(after, each), line.to_version, each),
                version=str(line.to_version),
                by_id=line.by_id,
                is_own=is_own,
                reason=line.reason if is_own else "",
            )
            for each in sorted({*before, *after})
            if before.get(each) != after.get(each) and label in (None, each)
        ]
    return found


def _point(points: Mapping[str, Any], label: str) -> Point | None:
    return Point(**points[label]) if label in points else None

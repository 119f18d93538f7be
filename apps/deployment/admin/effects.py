"""What a change would do, as tables above its button: which version serves whom, and what tenants chose."""

from collections.abc import Iterable
from typing import Any

from django.utils.html import format_html
from django.utils.safestring import SafeString

from apps.core.html_tables import table
from apps.deployment.ledger.rollback import describe_rollback, rollback_target
from apps.deployment.models import Deployment
from apps.deployment.points import Point, describe_point
from apps.registry.models import ModelVersion
from apps.tenants.models import PLATFORM, Tenant
from apps.tenants.operator_admin import reference

MOST_NAMES = 5

Change = tuple[Tenant | None, ModelVersion | None, ModelVersion | None]
"""Whom a change is for (None: the platform), the version that serves there now, and the one after it."""


def served_table(changes: Iterable[Change], after_the_change: str = "After the change") -> SafeString:
    """Which version serves whom now, and which one after the change."""
    rows = [
        (
            tenant or f"{PLATFORM.capitalize()}: {_followers()}",
            reference(now),
            "No change" if now == after else reference(after),
        )
        for tenant, now, after in changes
    ]
    return table(("For", "In service now", after_the_change), rows)


def _followers() -> str:
    """The tenants that the platform's version serves."""
    pinned = Deployment.objects.exclude(for_tenant=None).values("for_tenant")
    names = list(Tenant.objects.filter(is_active=True).exclude(pk__in=pinned).order_by("name"))
    more = [f"{len(names) - MOST_NAMES} more"] if len(names) > MOST_NAMES else []
    return ", ".join([*map(str, names[:MOST_NAMES]), *more]) or "no tenant yet"


def changes_everywhere(version: ModelVersion) -> list[Change]:
    """What the version would replace: for the platform, and for each tenant that is pinned."""
    rows = Deployment.objects.select_related("for_tenant", "model_version")
    serving = {row.for_tenant: row.model_version for row in rows}
    pinned = sorted((tenant for tenant in serving if tenant is not None), key=str)
    return [(each, serving.get(each), version) for each in (None, *pinned)]


def rolled_back(tenant: Tenant | None, serving: ModelVersion | None) -> tuple[str, SafeString]:
    """What a rollback would do: in words, and as tables.

    Raises:
        ConflictError: there is nothing to roll back to.
    """
    entry = rollback_target(tenant.pk if tenant else None, serving)
    explanation = (
        f"{describe_rollback(entry)}. Undoes ledger entry {entry.number} of {entry.at:%Y-%m-%d %H:%M} UTC by "
        f"{entry.who}: {entry.get_act_display().lower()}, {(entry.reason or 'no reason given').rstrip('.')}."
    )
    changes = points_table((serving, entry.points_after), (entry.from_version, entry.points_before))
    points = format_html("<h2>What tenants chose</h2>{}", changes) if changes else ""
    return explanation, format_html("{}{}", served_table([(tenant, serving, entry.from_version)]), points)


def points_table(
    before: tuple[ModelVersion | None, dict[str, Any]], after: tuple[ModelVersion | None, dict[str, Any]]
) -> SafeString | None:
    """What tenants chose before and after a change: each as the version and {tenant id: {label: point}}."""
    (old_version, old), (new_version, new) = before, after
    names = {str(tenant.pk): tenant.name for tenant in Tenant.objects.filter(pk__in={*old, *new})}
    rows = [
        (
            names[key],
            label,
            describe_point(_point(old, key, label), old_version, label),
            describe_point(_point(new, key, label), new_version, label),
        )
        for key in sorted({*old, *new}, key=lambda key: names[key])
        for label in sorted({*old.get(key, {}), *new.get(key, {})})
    ]
    return table(("For", "Finding", "Before", "After"), rows) if rows else None


def _point(chosen: dict[str, Any], tenant_id: str, label: str) -> Point | None:
    point = chosen.get(tenant_id, {}).get(label)
    return Point(**point) if point else None

"""Carrying the operating points that tenants chose from one version over to the next."""

import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from apps.audit.services import Actor
from apps.core.errors import ConflictError, InvalidInputError
from apps.deployment.ledger.entries import Chosen, Scope
from apps.deployment.models import Deployment, OperatingPoint, SwitchPreview
from apps.deployment.points import OperatingCurve, Point, PointChoice, Strategy, operating_curves, resolve_choice
from apps.deployment.selectors import version_for
from apps.registry.models import ModelVersion
from apps.tenants.models import Tenant


def chosen_points(version: ModelVersion, tenant_ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, dict[str, Point]]:
    """The operating points that these tenants chose for a version, with an item for each tenant."""
    found: dict[uuid.UUID, dict[str, Point]] = {each: {} for each in tenant_ids}
    for row in OperatingPoint.objects.filter(model_version=version, for_tenant__in=found):
        found[row.for_tenant_id][row.label] = Point.of(row)
    return found


def store_points(version: ModelVersion, tenant_id: uuid.UUID, points: Mapping[str, Point], by: Actor) -> None:
    """Store exactly these points. A point that does not change keeps the name of the person who chose it."""
    OperatingPoint.objects.filter(model_version=version, for_tenant=tenant_id).exclude(label__in=points).delete()
    held = chosen_points(version, [tenant_id])[tenant_id]
    for label, point in points.items():
        if held.get(label) == point:
            continue
        OperatingPoint.objects.update_or_create(
            model_version=version,
            for_tenant_id=tenant_id,
            label=label,
            defaults={**point.to_dict(), "actor": by.name},
        )


def points_to_carry(scope: Scope, previous: ModelVersion | None, version: ModelVersion) -> Chosen:
    """The points that the tenants whose version changes had chosen for the former version."""
    if scope.tenant is not None:
        ids = {scope.tenant.pk}
    else:
        rows = OperatingPoint.objects.filter(model_version__in=[each for each in (previous, version) if each])
        ids = set(rows.values_list("for_tenant_id", flat=True))
    points = chosen_points(previous or version, sorted(ids)) if previous else {tenant_id: {} for tenant_id in ids}
    return without_pinned(scope, points)


def without_pinned(scope: Scope, by_tenant: Chosen) -> Chosen:
    """Leave out pinned tenants: a change for the platform does not change their points."""
    if scope.tenant is not None:
        return by_tenant
    pinned = pinned_tenants()
    return {tenant_id: points for tenant_id, points in by_tenant.items() if tenant_id not in pinned}


def carry_over(before: Chosen, from_version: ModelVersion, to_version: ModelVersion) -> Chosen:
    """The points on another version that keep what each tenant chose.

    A point that a tenant chose earlier for the other version stays where it chose none for the former one.

    Raises:
        ConflictError: a choice can be kept only after a preview or an evaluation; the detail says which.
    """
    curves = operating_curves(to_version)
    stored = chosen_points(to_version, before)
    after: dict[uuid.UUID, dict[str, Point]] = {}
    for tenant_id, points in before.items():
        preview = fitting_preview(tenant_id, points, from_version, to_version)
        previewed = preview.report["labels"] if preview else {}
        kept = {
            label: _carried_point(
                tenant_id, to_version, label, point, curves.get(label), previewed.get(label), stored[tenant_id]
            )
            for label, point in points.items()
            # The other version may read fewer findings.
            if label in to_version.manifest["labels"]
        }
        after[tenant_id] = {**stored[tenant_id], **kept}
    return after


def current_previews(
    tenant: Tenant | None, from_version: ModelVersion | None, to_version: ModelVersion
) -> dict[str, str]:
    """The SHA-256 of the previews of this switch that are current, by the id of each tenant that it concerns."""
    rows = SwitchPreview.objects.filter(from_version=from_version, to_version=to_version)
    if tenant is not None:
        rows = rows.filter(for_tenant=tenant)
    if from_version is None or not rows.exists():
        return {}
    points = chosen_points(from_version, rows.values_list("for_tenant_id", flat=True))
    if tenant is None:
        points = {each: points[each] for each in points.keys() - pinned_tenants()}
    found = {each: fitting_preview(each, points[each], from_version, to_version) for each in points}
    return {str(each): preview.sha256 for each, preview in sorted(found.items()) if preview}


def pinned_tenants() -> set[uuid.UUID]:
    return set(Deployment.objects.exclude(for_tenant=None).values_list("for_tenant_id", flat=True))


def fitting_preview(
    tenant_id: uuid.UUID, points: Mapping[str, Point], from_version: ModelVersion, to_version: ModelVersion
) -> SwitchPreview | None:
    """The latest preview of this very switch, made with the points that are in force now."""
    previews = SwitchPreview.objects.filter(for_tenant=tenant_id, from_version=from_version, to_version=to_version)
    latest = previews.first()
    now = {label: point.to_dict() for label, point in points.items()}
    return latest if latest is not None and latest.report["points"] == now else None


def is_current_preview(preview: SwitchPreview) -> bool:
    """Whether an activation now would do what the preview showed: the same version serves, with the same points."""
    tenant_id = preview.for_tenant_id
    if version_for(tenant_id) != preview.from_version:
        return False
    points = chosen_points(preview.from_version, [tenant_id])[tenant_id]
    return fitting_preview(tenant_id, points, preview.from_version, preview.to_version) == preview


def _carried_point(
    tenant_id: uuid.UUID,
    version: ModelVersion,
    label: str,
    point: Point,
    curve: OperatingCurve | None,
    previewed: Mapping[str, Any] | None,
    stored: Mapping[str, Point],
) -> Point:
    if previewed and previewed["proposed"]:
        return Point(**previewed["proposed"])
    same = stored.get(label)
    if same is not None and (same.strategy, same.target) == (point.strategy, point.target):
        return same
    try:
        if point.strategy not in (Strategy.ALERT_RATE, Strategy.MANUAL):
            return resolve_choice(version, label, PointChoice(point.strategy, point.target), curve, ())
    except InvalidInputError as error:
        raise ConflictError(f"{error.detail} {_remedy(tenant_id, version)}", "points-not-kept") from error
    raise ConflictError(
        f"{Tenant.objects.get(pk=tenant_id)} has a threshold of its own for {label} ({point.value:.3f}), and "
        f"the scores of {version} differ. {_remedy(tenant_id, version, previewed['note'] if previewed else '')}",
        "points-not-kept",
    )


def _remedy(tenant_id: uuid.UUID, version: ModelVersion, note: str = "") -> str:
    """The remedy, as text for the user; ``note`` says why an existing preview proposes no point."""
    preview = (
        f"manage.py preview_switch {version} --tenant {Tenant.objects.get(pk=tenant_id).slug}, or Preview this switch "
        "on its page"
    )
    first = (
        f"The preview proposes none. {note} Preview the switch again once more studies were read: {preview}"
        if note
        else f"Preview the switch, which proposes one where enough studies were read: {preview}"
    )
    return f"{first}; or use the version's own points in place of what the tenants chose: --own-points."

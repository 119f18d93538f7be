"""The operating points that tenants chose, and how they are carried from one version to the next."""

import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from apps.core.errors import ConflictError, InvalidInputError
from apps.deployment.ledger.entries import Chosen, Scope
from apps.deployment.models import Deployment, OperatingPoint, SwitchPreview
from apps.deployment.points import Choice, OperatingCurve, Point, Strategy, operating_curves, resolve_choice
from apps.deployment.selectors import version_for
from apps.registry.models import ModelVersion
from apps.tenants.models import Tenant


def chosen_points(version: ModelVersion, tenant_ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, dict[str, Point]]:
    """What these tenants chose for a version; an entry for each tenant."""
    found: dict[uuid.UUID, dict[str, Point]] = {each: {} for each in tenant_ids}
    for row in OperatingPoint.objects.filter(model_version=version, for_tenant__in=found):
        found[row.for_tenant_id][row.label] = Point.of(row)
    return found


def store_points(version: ModelVersion, tenant_id: uuid.UUID, points: Mapping[str, Point], actor: str) -> None:
    """Put exactly these points into force; one that holds already stays its chooser's."""
    OperatingPoint.objects.filter(model_version=version, for_tenant=tenant_id).exclude(label__in=points).delete()
    held = chosen_points(version, [tenant_id])[tenant_id]
    for label, point in points.items():
        if held.get(label) == point:
            continue
        OperatingPoint.objects.update_or_create(
            model_version=version,
            for_tenant_id=tenant_id,
            label=label,
            defaults={**point.to_dict(), "actor": actor},
        )


def points_to_carry(scope: Scope, previous: ModelVersion | None, version: ModelVersion) -> Chosen:
    """What the tenants whose version changes had chosen on the former one."""
    if scope.tenant is not None:
        ids = {scope.tenant.pk}
    else:
        rows = OperatingPoint.objects.filter(model_version__in=[each for each in (previous, version) if each])
        ids = set(rows.values_list("for_tenant_id", flat=True))
    at_stake = chosen_points(previous or version, sorted(ids)) if previous else {tenant_id: {} for tenant_id in ids}
    return without_pinned(scope, at_stake)


def without_pinned(scope: Scope, by_tenant: Chosen) -> Chosen:
    """The platform's moves leave a pinned tenant's points alone."""
    if scope.tenant is not None:
        return by_tenant
    pinned = pinned_tenants()
    return {tenant_id: points for tenant_id, points in by_tenant.items() if tenant_id not in pinned}


def carry_over(before: Chosen, from_version: ModelVersion, to_version: ModelVersion) -> Chosen:
    """The points that keep, on another version, what each tenant chose.

    What a tenant had chosen on the other version stays where it chose nothing on this one.

    Raises:
        ConflictError: a choice can be kept only after a preview or an evaluation; the detail says which.
    """
    known = operating_curves(to_version)
    there = chosen_points(to_version, before)
    after: dict[uuid.UUID, dict[str, Point]] = {}
    for tenant_id, points in before.items():
        preview = fitting_preview(tenant_id, points, from_version, to_version)
        seen = preview.report["labels"] if preview else {}
        kept = {
            label: _carried_point(
                tenant_id, to_version, label, point, known.get(label), seen.get(label), there[tenant_id]
            )
            for label, point in points.items()
            # A version may read fewer findings: where it says nothing there is nothing to judge.
            if label in to_version.manifest["labels"]
        }
        after[tenant_id] = {**there[tenant_id], **kept}
    return after


def current_previews(
    tenant: Tenant | None, from_version: ModelVersion | None, to_version: ModelVersion
) -> dict[str, str]:
    """The hashes of the previews of this switch that hold now, by the id of each tenant that it concerns."""
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
    """Whether a move now would be what the preview showed: the same version serves, by the same points."""
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
    seen: Mapping[str, Any] | None,
    there: Mapping[str, Point],
) -> Point:
    if seen and seen["proposed"]:
        return Point(**seen["proposed"])
    same = there.get(label)
    if same is not None and (same.strategy, same.target) == (point.strategy, point.target):
        return same
    try:
        if point.strategy not in (Strategy.ALERT_RATE, Strategy.MANUAL):
            return resolve_choice(version, label, Choice(point.strategy, point.target), curve, ())
    except InvalidInputError as error:
        raise ConflictError(f"{error.detail} {_remedy(tenant_id, version)}", "points-not-kept") from error
    raise ConflictError(
        f"{Tenant.objects.get(pk=tenant_id)} judges {label} by a threshold of its own ({point.value:.3f}), and "
        f"{version} scores otherwise. {_remedy(tenant_id, version, seen['note'] if seen else '')}",
        "points-not-kept",
    )


def _remedy(tenant_id: uuid.UUID, version: ModelVersion, note: str = "") -> str:
    """What to do; ``note`` is why the preview that was made proposes nothing."""
    preview = (
        f"manage.py preview_switch {version} --tenant {Tenant.objects.get(pk=tenant_id).slug}, or Preview this switch "
        "on its page"
    )
    first = (
        f"The preview proposes none. {note} Preview the switch again once more studies were read: {preview}"
        if note
        else f"Preview the switch, which proposes one where enough studies were read: {preview}"
    )
    return f"{first}; or give the tenants' choices up for the version's own points: --own-points."

"""The operating points that tenants chose: changing them, and carrying them from one version to the next."""

import uuid
from collections.abc import Iterable, Mapping, Sequence

from apps.core.errors import ConflictError, InvalidInputError
from apps.registry.models import Activation, ModelVersion, OperatingPoint, SwitchPreview
from apps.registry.points import Choice, Curve, Point, Strategy, curves, resolve
from apps.registry.services.ledger import By, Chosen, append, moving
from apps.tenants.models import Tenant


def set_points(
    *,
    tenant: Tenant,
    version: ModelVersion,
    choices: Mapping[str, Choice | None],
    recent: Mapping[str, Sequence[float]],
    actor: str,
    by_id: uuid.UUID | None = None,
    reason: str = "",
) -> Activation:
    """Judge a tenant's findings by other operating points from the next result on; all of them or none.

    Args:
        version: the one that serves the tenant, as whoever chooses has seen it.
        choices: by label; None goes back to the version's own point.
        recent: the version's probabilities by label on the tenant's recent studies, for shares of flagged studies.

    Raises:
        InvalidInputError: a choice cannot be met.
        ConflictError: another version serves the tenant by now.
    """
    with moving(tenant) as scope:
        if scope.serving != version:
            raise ConflictError(f"{scope.serving or 'No version'} serves {tenant} by now, not {version}: look again.")
        known = curves(version)
        before = chosen(version, [tenant.pk])
        after = dict(before[tenant.pk])
        for label, choice in choices.items():
            if choice is None:
                after.pop(label, None)
            else:
                after[label] = resolve(version, label, choice, known.get(label), recent.get(label, ()))
        write(version, tenant.pk, after, actor)
        by = By(actor, by_id, reason)
        return append(Activation.Act.POINTS, tenant, version, version, by, before=before, after={tenant.pk: after})


def chosen(version: ModelVersion, tenant_ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, dict[str, Point]]:
    """What these tenants chose for a version; an entry for each tenant."""
    found: dict[uuid.UUID, dict[str, Point]] = {each: {} for each in tenant_ids}
    for row in OperatingPoint.objects.filter(model_version=version, for_tenant__in=found):
        found[row.for_tenant_id][row.label] = Point.of(row)
    return found


def write(version: ModelVersion, tenant_id: uuid.UUID, points: Mapping[str, Point], actor: str) -> None:
    """Put exactly these points into force."""
    OperatingPoint.objects.filter(model_version=version, for_tenant=tenant_id).exclude(label__in=points).delete()
    for label, point in points.items():
        OperatingPoint.objects.update_or_create(
            model_version=version,
            for_tenant_id=tenant_id,
            label=label,
            defaults={**point.to_dict(), "actor": actor},
        )


def carry(before: Chosen, from_version: ModelVersion, to_version: ModelVersion) -> tuple[Chosen, str]:
    """The points that keep, on another version, what each tenant chose; and the hash of the preview used, if one was.

    What a tenant had chosen on the other version stays where it chose nothing on this one.

    Raises:
        ConflictError: a choice can be kept only after a preview or an evaluation; the detail says which.
    """
    known = curves(to_version)
    there = chosen(to_version, before)
    after: dict[uuid.UUID, dict[str, Point]] = {}
    hashes = []
    for tenant_id, points in before.items():
        preview = fitting_preview(tenant_id, points, from_version, to_version)
        proposed = _proposals(preview)
        kept = {
            label: _kept(tenant_id, to_version, label, point, known.get(label), proposed, there[tenant_id])
            for label, point in points.items()
            # A version may read fewer findings: where it says nothing there is nothing to judge.
            if label in to_version.manifest["labels"]
        }
        after[tenant_id] = {**there[tenant_id], **kept}
        hashes += [preview.sha256] if preview else []
    return after, hashes[0] if len(hashes) == 1 else ""


def fitting_preview(
    tenant_id: uuid.UUID, points: Mapping[str, Point], from_version: ModelVersion, to_version: ModelVersion
) -> SwitchPreview | None:
    """The latest preview of this very switch, made with the points that are in force now."""
    previews = SwitchPreview.objects.filter(for_tenant=tenant_id, from_version=from_version, to_version=to_version)
    latest = previews.first()
    now = {label: point.to_dict() for label, point in points.items()}
    return latest if latest is not None and latest.report["points"] == now else None


def _proposals(preview: SwitchPreview | None) -> dict[str, Point]:
    entries = preview.report["labels"] if preview else {}
    return {label: Point(**entry["proposed"]) for label, entry in entries.items() if entry["proposed"]}


def _kept(
    tenant_id: uuid.UUID,
    version: ModelVersion,
    label: str,
    point: Point,
    curve: Curve | None,
    proposed: Mapping[str, Point],
    there: Mapping[str, Point],
) -> Point:
    if label in proposed:
        return proposed[label]
    same = there.get(label)
    if same is not None and (same.strategy, same.target) == (point.strategy, point.target):
        return same
    try:
        if point.strategy not in (Strategy.ALERT_RATE, Strategy.MANUAL):
            return resolve(version, label, Choice(point.strategy, point.target), curve, ())
    except InvalidInputError as error:
        raise ConflictError(f"{error.detail} {_remedy(tenant_id, version)}", "points-not-kept") from error
    raise ConflictError(
        f"{Tenant.objects.get(pk=tenant_id)} judges {label} by a threshold of its own ({point.value:.3f}), and "
        f"{version} scores otherwise. {_remedy(tenant_id, version)}",
        "points-not-kept",
    )


def _remedy(tenant_id: uuid.UUID, version: ModelVersion) -> str:
    slug = Tenant.objects.get(pk=tenant_id).slug
    return (
        f"Preview the switch, which proposes one: manage.py preview_switch {version} --tenant {slug}; or give the "
        "tenants' choices up for the version's own points: --own-points."
    )

"""Moving the pointers: into service for the platform or for one tenant, and back.

A version and the operating points that tenants chose move in one transaction. Each move is a line of the ledger.
"""

import uuid
from typing import Any

from django.conf import settings

from apps.core.errors import ConflictError, NotPermittedError
from apps.deployment.ledger.entries import By, Chosen, Scope, append, moving, restored
from apps.deployment.ledger.rollback import way_back
from apps.deployment.models import Activation, Deployment
from apps.deployment.services.challenge import NOTHING, end_outdated_challenges, keep_in_step
from apps.deployment.services.check_gates import check_gates
from apps.deployment.services.points import carry, choices_at_stake, chosen, seen_previews, without_pinned, write
from apps.registry.models import ModelVersion
from apps.tenants.models import Tenant


def activate(
    *,
    version: ModelVersion,
    actor: str,
    by_id: uuid.UUID | None = None,
    reason: str = "",
    tenant: Tenant | None = None,
    keeps_points: bool = True,
    despite_gate: bool = False,
) -> Activation:
    """Put a version into service, for the whole platform or pinned for one tenant.

    Args:
        keeps_points: carry on what the tenants chose, such as a sensitivity; else the version's own points hold.
        despite_gate: although a gate was not passed; the reason and the gate go into the ledger.

    Raises:
        ConflictError: it serves there already, is retired, did not pass a gate, or cannot keep what a tenant chose; the
            detail says more.
        InvalidInputError: a gate was overridden without a reason.
        NotPermittedError: this platform asks for a second operator, so the move must be requested.
    """
    with moving(tenant) as scope:
        if settings.ACTIVATION_NEEDS_SECOND_APPROVER and scope.serving is not None:
            raise NotPermittedError(
                "This platform asks for a second operator: request the move, and let another one confirm it.",
                "second-approver-needed",
            )
        by = By(actor, by_id, reason, despite_gate=despite_gate)
        return put_into_service(scope, version, by, keeps_points=keeps_points)


def put_into_service(scope: Scope, version: ModelVersion, by: By, *, keeps_points: bool) -> Activation:
    """`activate`, inside the transaction of a scope."""
    check_can_serve(scope, version)
    overridden = check_gates(version, by)
    previous = scope.serving
    before = choices_at_stake(scope, previous, version)
    seen = seen_previews(scope.tenant, previous, version)
    if previous is None or not keeps_points:
        after: Chosen = {tenant_id: {} for tenant_id in before}
    elif previous == version:
        after = before
    else:
        after = carry(before, previous, version)
    kept: dict[str, Any] = {"previews": seen, "despite_gates": overridden}
    return _move(scope, version, Activation.Act.ACTIVATED, by, before=before, after=after, **kept)


def check_can_serve(scope: Scope, version: ModelVersion) -> None:
    """Refuse what is retired or serves there already."""
    if scope.own is not None and scope.own.model_version_id == version.pk:
        raise ConflictError(f"{version} is in service already.")
    if ModelVersion.objects.filter(pk=version.pk, retired__isnull=False).exists():
        raise ConflictError(f"{version} is retired: it must not read for anybody again.", "version-retired")


def roll_back(
    *, actor: str, by_id: uuid.UUID | None = None, reason: str = "", tenant: Tenant | None = None
) -> Activation:
    """Take back the last move or change of points: what read before reads again, with the points of that time.

    Once more, and the move before it is taken back; a version that was retired meanwhile is passed over. A tenant that
    followed the platform follows it again, if what it read by then is what the platform has now.

    Raises:
        ConflictError: there is nothing to take back.
    """
    with moving(tenant) as scope:
        current = scope.serving
        undone = way_back(tenant.pk if tenant else None, current)
        if undone.from_version is None or current is None:
            raise ConflictError("There is no earlier version to roll back to.")
        after = without_pinned(scope, restored(undone.points_before))
        return _move(
            scope,
            undone.from_version,
            Activation.Act.ROLLED_BACK,
            By(actor, by_id, reason),
            before=chosen(current, after),
            after=after,
            moves_pointer=undone.act != Activation.Act.POINTS,
            undoes=undone,
        )


def unpin(
    *, tenant: Tenant, actor: str, by_id: uuid.UUID | None = None, reason: str = "", keeps_points: bool = True
) -> Activation:
    """Let a tenant follow the platform's pointer again.

    Args:
        keeps_points: carry on what it chose; else the version's own points hold.

    Raises:
        ConflictError: it does already, there is nothing to follow, or a choice cannot be kept.
    """
    with moving(tenant) as scope:
        if scope.own is None:
            raise ConflictError(f"{tenant} has no version of its own: it follows the platform already.")
        if scope.platform is None:
            raise ConflictError("No version is in service for the platform: there would be none left.")
        version, previous = scope.platform.model_version, scope.own.model_version
        before = chosen(previous, [tenant.pk])
        after: Chosen = {tenant.pk: {}}
        if keeps_points:
            after = before if version == previous else carry(before, previous, version)
        seen = seen_previews(tenant, previous, version)
        by = By(actor, by_id, reason)
        return _move(scope, version, Activation.Act.UNPINNED, by, before=before, after=after, previews=seen)


def _move(
    scope: Scope,
    version: ModelVersion,
    act: str,
    by: By,
    *,
    before: Chosen,
    after: Chosen,
    moves_pointer: bool = True,
    undoes: Activation | None = None,
    **kept: Any,
) -> Activation:
    previous = scope.serving
    for tenant_id, points in after.items():
        write(version, tenant_id, points, by.actor)
    if moves_pointer:
        _point(scope, version, act, undoes)
    kept |= {"undoes": undoes, "own_before": scope.own is not None}
    line = append(act, scope.tenant, previous, version, by, before=before, after=after, **kept)
    if moves_pointer:
        end_outdated_challenges(by)
    for tenant_id in after:
        former = NOTHING if moves_pointer else before.get(tenant_id, NOTHING)
        keep_in_step(tenant_id, by, former=former, or_end=True)
    return line


def _point(scope: Scope, version: ModelVersion, act: str, undoes: Activation | None) -> None:
    # Lines of old do not say whether the tenant had a pointer of its own.
    keeps_own = act == Activation.Act.ACTIVATED or (undoes is not None and undoes.own_before is True)
    follows = scope.tenant is not None and scope.platform is not None and scope.platform.model_version == version
    if follows and not keeps_own:
        Deployment.objects.filter(for_tenant=scope.tenant).delete()
    else:
        Deployment.objects.update_or_create(for_tenant=scope.tenant, defaults={"model_version": version})

"""Moving the pointers: into service for the platform or for one tenant, and back.

A version and the operating points that tenants chose move in one transaction. Each move is a line of the ledger.
"""

import uuid
from typing import Any

from django.conf import settings

from apps.core.errors import ConflictError, NotPermittedError
from apps.deployment.ledger.entries import Chosen, Decision, Scope, append_entry, locked_scope, points_from_json
from apps.deployment.ledger.rollback import rollback_target
from apps.deployment.models import Activation, Deployment
from apps.deployment.services.carry_points import (
    carry_over,
    chosen_points,
    current_previews,
    points_to_carry,
    store_points,
    without_pinned,
)
from apps.deployment.services.challenge import NO_POINTS, end_outdated_challenges, update_challenger_points
from apps.deployment.services.check_release_gates import check_release_gates
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
    with locked_scope(tenant) as scope:
        if settings.ACTIVATION_NEEDS_SECOND_APPROVER and scope.serving is not None:
            raise NotPermittedError(
                "This platform asks for a second operator: request the move, and let another one confirm it.",
                "second-approver-needed",
            )
        by = Decision(actor, by_id, reason, despite_gate=despite_gate)
        return put_into_service(scope, version, by, keeps_points=keeps_points)


def put_into_service(scope: Scope, version: ModelVersion, by: Decision, *, keeps_points: bool) -> Activation:
    """`activate`, inside the transaction of a scope."""
    check_can_serve(scope, version)
    overridden = check_release_gates(version, by)
    previous = scope.serving
    before = points_to_carry(scope, previous, version)
    seen = current_previews(scope.tenant, previous, version)
    if previous is None or not keeps_points:
        after: Chosen = {tenant_id: {} for tenant_id in before}
    elif previous == version:
        after = before
    else:
        after = carry_over(before, previous, version)
    kept: dict[str, Any] = {"previews": seen, "despite_gates": overridden}
    return _apply(scope, version, Activation.Act.ACTIVATED, by, before=before, after=after, **kept)


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
    with locked_scope(tenant) as scope:
        current = scope.serving
        undone = rollback_target(tenant.pk if tenant else None, current)
        if undone.from_version is None or current is None:
            raise ConflictError("There is no earlier version to roll back to.")
        after = without_pinned(scope, points_from_json(undone.points_before))
        return _apply(
            scope,
            undone.from_version,
            Activation.Act.ROLLED_BACK,
            Decision(actor, by_id, reason),
            before=chosen_points(current, after),
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
    with locked_scope(tenant) as scope:
        if scope.own is None:
            raise ConflictError(f"{tenant} has no version of its own: it follows the platform already.")
        if scope.platform is None:
            raise ConflictError("No version is in service for the platform: there would be none left.")
        version, previous = scope.platform.model_version, scope.own.model_version
        before = chosen_points(previous, [tenant.pk])
        after: Chosen = {tenant.pk: {}}
        if keeps_points:
            after = before if version == previous else carry_over(before, previous, version)
        seen = current_previews(tenant, previous, version)
        by = Decision(actor, by_id, reason)
        return _apply(scope, version, Activation.Act.UNPINNED, by, before=before, after=after, previews=seen)


def _apply(
    scope: Scope,
    version: ModelVersion,
    act: str,
    by: Decision,
    *,
    before: Chosen,
    after: Chosen,
    moves_pointer: bool = True,
    undoes: Activation | None = None,
    **kept: Any,
) -> Activation:
    previous = scope.serving
    for tenant_id, points in after.items():
        store_points(version, tenant_id, points, by.actor)
    if moves_pointer:
        _set_deployment(scope, version, act, undoes)
    kept |= {"undoes": undoes, "own_before": scope.own is not None}
    line = append_entry(act, scope.tenant, previous, version, by, before=before, after=after, **kept)
    if moves_pointer:
        end_outdated_challenges(by)
    for tenant_id in after:
        former = NO_POINTS if moves_pointer else before.get(tenant_id, NO_POINTS)
        update_challenger_points(tenant_id, by, former=former, or_end=True)
    return line


def _set_deployment(scope: Scope, version: ModelVersion, act: str, undoes: Activation | None) -> None:
    # Lines of old do not say whether the tenant had a pointer of its own.
    keeps_own = act == Activation.Act.ACTIVATED or (undoes is not None and undoes.own_before is True)
    follows = scope.tenant is not None and scope.platform is not None and scope.platform.model_version == version
    if follows and not keeps_own:
        Deployment.objects.filter(for_tenant=scope.tenant).delete()
    else:
        Deployment.objects.update_or_create(for_tenant=scope.tenant, defaults={"model_version": version})

"""Activation, rollback and unpinning: which version is in service for the platform or for one tenant.

The version and the operating points that tenants chose change in one transaction, which leaves one ledger entry.
"""

from typing import Any

from django.conf import settings

from apps.audit.services import Actor
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
    by: Actor,
    reason: str = "",
    tenant: Tenant | None = None,
    keeps_points: bool = True,
    despite_gate: bool = False,
    why_no_preview: str | None = None,
) -> Activation:
    """Put a version into service, for the whole platform or pinned for one tenant.

    Args:
        keeps_points: carry over what the tenants chose, such as a sensitivity; else the version's own points apply.
        despite_gate: override the floor and release gates that were not passed; the ledger keeps them and the reason.
        why_no_preview: why the switch was not previewed; an empty text is refused where no preview is current. None
            where no person was asked.

    Raises:
        ConflictError: it serves there already, is retired, did not pass the floor or a release gate, was not previewed,
            or cannot keep what a tenant chose; the detail says more.
        InvalidInputError: the floor or a release gate was overridden without a reason.
        NotPermittedError: this platform requires a second operator, so the activation must be requested.
    """
    with locked_scope(tenant) as scope:
        if settings.ACTIVATION_NEEDS_SECOND_APPROVER and scope.serving is not None:
            raise NotPermittedError(
                "This platform requires a second operator: request the activation, and let another one confirm it.",
                "second-approver-needed",
            )
        decision = Decision(by, reason, despite_gate=despite_gate, why_no_preview=why_no_preview)
        return put_into_service(scope, version, decision, keeps_points=keeps_points)


def put_into_service(scope: Scope, version: ModelVersion, decision: Decision, *, keeps_points: bool) -> Activation:
    """Do the work of `activate` inside the transaction of a scope."""
    check_can_serve(scope, version)
    previous = scope.serving
    overridden = check_release_gates(version, decision, serving=previous)
    previews = check_preview(scope, version, decision)
    before = points_to_carry(scope, previous, version)
    if previous is None or not keeps_points:
        after: Chosen = {tenant_id: {} for tenant_id in before}
    elif previous == version:
        after = before
    else:
        after = carry_over(before, previous, version)
    kept: dict[str, Any] = {"previews": previews, "despite_gates": overridden}
    return _apply(scope, version, Activation.Act.ACTIVATED, decision, before=before, after=after, **kept)


def check_preview(scope: Scope, version: ModelVersion, decision: Decision) -> dict[str, str]:
    """The previews of a switch that are current, as `current_previews`.

    Raises:
        ConflictError: there is none, and the decision does not say why.
    """
    previews = current_previews(scope.tenant, scope.serving, version)
    is_switch = scope.serving is not None and scope.serving != version
    if is_switch and not previews and decision.why_no_preview is not None and not decision.why_no_preview.strip():
        raise ConflictError(
            f"No preview shows what {version} would change there now. Preview this switch first, or say why it is not "
            "previewed.",
            "preview-missing",
        )
    return previews


def check_can_serve(scope: Scope, version: ModelVersion) -> None:
    """Refuse a version that is retired, or in service there already."""
    if scope.own is not None and scope.own.model_version_id == version.pk:
        raise ConflictError(f"{version} is in service already.")
    if ModelVersion.objects.filter(pk=version.pk, retired__isnull=False).exists():
        raise ConflictError(f"{version} is retired: it must not read again.", "version-retired")


def roll_back(*, by: Actor, reason: str = "", tenant: Tenant | None = None) -> Activation:
    """Take back the last activation or change of points: the former version reads again, with its former points.

    A second rollback undoes the entry before that. A version that was retired meanwhile is skipped. A tenant that
    followed the platform follows it again, if its former version is the platform's version now.

    Raises:
        ConflictError: there is nothing to take back.
    """
    with locked_scope(tenant) as scope:
        current = scope.serving
        target = rollback_target(tenant.pk if tenant else None, current)
        if target.from_version is None or current is None:
            raise ConflictError("There is no earlier version to roll back to.")
        after = without_pinned(scope, points_from_json(target.points_before))
        return _apply(
            scope,
            target.from_version,
            Activation.Act.ROLLED_BACK,
            Decision(by, reason),
            before=chosen_points(current, after),
            after=after,
            changes_version=target.act != Activation.Act.POINTS,
            undoes=target,
        )


def unpin(*, tenant: Tenant, by: Actor, reason: str = "", keeps_points: bool = True) -> Activation:
    """Let a tenant follow the platform's version again.

    Args:
        keeps_points: carry over what the tenant chose; else the version's own points apply.

    Raises:
        ConflictError: the tenant is not pinned, the platform has no version, or a choice cannot be kept.
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
        previews = current_previews(tenant, previous, version)
        decision = Decision(by, reason)
        return _apply(scope, version, Activation.Act.UNPINNED, decision, before=before, after=after, previews=previews)


def _apply(
    scope: Scope,
    version: ModelVersion,
    act: str,
    decision: Decision,
    *,
    before: Chosen,
    after: Chosen,
    changes_version: bool = True,
    undoes: Activation | None = None,
    **kept: Any,
) -> Activation:
    """Store the points and the deployment, append the ledger entry, and bring the challengers up to date."""
    previous = scope.serving
    for tenant_id, points in after.items():
        store_points(version, tenant_id, points, decision.by)
    if changes_version:
        _set_deployment(scope, version, act, undoes)
    kept |= {"undoes": undoes, "own_before": scope.own is not None}
    entry = append_entry(act, scope.tenant, previous, version, decision, before=before, after=after, **kept)
    if changes_version:
        end_outdated_challenges(decision)
    for tenant_id in after:
        former = NO_POINTS if changes_version else before.get(tenant_id, NO_POINTS)
        update_challenger_points(tenant_id, decision, former=former, or_end=True)
    return entry


def _set_deployment(scope: Scope, version: ModelVersion, act: str, undoes: Activation | None) -> None:
    # Entries of earlier releases do not record whether the tenant was pinned.
    keeps_own = act == Activation.Act.ACTIVATED or (undoes is not None and undoes.own_before is True)
    follows = scope.tenant is not None and scope.platform is not None and scope.platform.model_version == version
    if follows and not keeps_own:
        Deployment.objects.filter(for_tenant=scope.tenant).delete()
    else:
        Deployment.objects.update_or_create(for_tenant=scope.tenant, defaults={"model_version": version})

"""Moves that wait for a second operator, and versions that must not serve again."""

import uuid
from typing import Any

from django.utils import timezone

from apps.core.errors import ConflictError, InvalidInputError, NotPermittedError
from apps.deployment.ledger.entries import Decision, append_entry, locked_scope
from apps.deployment.models import Activation, ActivationRequest, Challenger, Deployment
from apps.deployment.services.activation import activate, check_can_serve, put_into_service
from apps.deployment.services.carry_points import carry_over, points_to_carry
from apps.deployment.services.challenge import challenge, check_can_challenge, start_challenge, without_own_challenger
from apps.deployment.services.check_release_gates import check_release_gates
from apps.registry.models import ModelVersion
from apps.tenants.models import Tenant


def request_activation(
    *,
    version: ModelVersion,
    actor: str,
    by_id: uuid.UUID | None = None,
    reason: str = "",
    tenant: Tenant | None = None,
    keeps_points: bool = True,
    percent: int | None = None,
    despite_gate: bool = False,
) -> ActivationRequest:
    """Ask for a move that another operator confirms; one that waited for the same tenant is replaced.

    Args:
        percent: of a canary; None asks for the whole service.

    Raises:
        InvalidInputError: nobody asks, so nobody could be told from the one who confirms; or as `activate`.
        ConflictError: the version cannot serve there, or cannot keep what a tenant chose, as `activate`.
    """
    if by_id is None:
        raise InvalidInputError("A second operator must confirm it: say who asks, --operator EMAIL.", "person-missing")
    with locked_scope(tenant) as scope:
        if percent is None:
            check_can_serve(scope, version)
        else:
            check_can_challenge(scope, version, percent)
        check_release_gates(version, Decision(actor, by_id, reason, despite_gate=despite_gate))
        if keeps_points and scope.serving is not None:
            at_stake = points_to_carry(scope, scope.serving, version)
            carry_over(at_stake if percent is None else without_own_challenger(scope, at_stake), scope.serving, version)
        waiting = ActivationRequest.objects.filter(for_tenant=tenant, line=None, withdrawn=None).first()
        if waiting is not None:
            withdraw(request=waiting)
        return ActivationRequest.objects.create(
            for_tenant=tenant,
            from_version=scope.serving,
            to_version=version,
            percent=percent,
            keeps_points=keeps_points,
            despite_gate=despite_gate,
            by_id=by_id,
            actor=actor,
            reason=reason,
            replaces=waiting,
        )


def activate_or_request(**move: Any) -> Activation | ActivationRequest:
    """`activate`, or `request_activation` where this platform asks for a second operator."""
    try:
        return activate(**move)
    except NotPermittedError:
        return request_activation(**move)


def challenge_or_request(**trial: Any) -> Activation | ActivationRequest:
    """`challenge`, or `request_activation` where this platform asks for a second operator."""
    try:
        return challenge(**trial)
    except NotPermittedError:
        return request_activation(**trial)


def approve(*, request: ActivationRequest, by_id: uuid.UUID) -> Activation:
    """Confirm another operator's request, and move.

    Raises:
        NotPermittedError: it is one's own.
        ConflictError: it is done or withdrawn, or something else serves by now than when it was made.
    """
    with locked_scope(request.for_tenant) as scope:
        # Locked: whoever withdraws it meanwhile waits, and finds it confirmed.
        fresh = ActivationRequest.objects.select_for_update(of=("self",)).get(pk=request.pk)
        if not fresh.is_open:
            raise ConflictError(fresh.closed_in_words)
        if fresh.by_id in (None, by_id):
            raise NotPermittedError("A second operator must confirm what you asked for.", "second-approver-needed")
        if scope.serving != fresh.from_version:
            raise ConflictError(f"{scope.serving} serves by now, not {fresh.from_version}: request the move again.")
        by = Decision(fresh.actor, fresh.by_id, fresh.reason, by_id, fresh.despite_gate)
        if fresh.percent is None:
            fresh.line = put_into_service(scope, fresh.to_version, by, keeps_points=fresh.keeps_points)
        else:
            fresh.line = start_challenge(
                scope, fresh.to_version, by, percent=fresh.percent, keeps_points=fresh.keeps_points
            )
        fresh.save(update_fields=["line"])
        return fresh.line


def withdraw(*, request: ActivationRequest) -> ActivationRequest:
    """Let a request be forgotten.

    Raises:
        ConflictError: it is not open any more.
    """
    waiting = ActivationRequest.objects.filter(pk=request.pk, line=None, withdrawn=None)
    if not waiting.update(withdrawn=timezone.now()):
        raise ConflictError(ActivationRequest.objects.get(pk=request.pk).closed_in_words)
    return request


def retire(*, version: ModelVersion, actor: str, by_id: uuid.UUID | None = None, reason: str = "") -> Activation:
    """Say that a version must not read for anybody again. Its results, and what is known of it, stay.

    Requests for it are withdrawn.

    Raises:
        ConflictError: it serves or challenges somewhere, or is retired already.
    """
    with locked_scope(None):
        if Deployment.objects.filter(model_version=version).exists():
            raise ConflictError(f"{version} is in service: put another version there first.")
        if Challenger.objects.filter(model_version=version, ended=None).exists():
            raise ConflictError(f"{version} is a challenger: end that first.")
        if not ModelVersion.objects.filter(pk=version.pk, retired=None).update(retired=timezone.now()):
            raise ConflictError(f"{version} is retired already.")
        asked = ActivationRequest.objects.filter(to_version=version, line=None, withdrawn=None)
        asked.update(withdrawn=timezone.now())
        return append_entry(Activation.Act.RETIRED, None, None, version, Decision(actor, by_id, reason))

"""Activation requests, which a second operator confirms, and the retirement of versions."""

from typing import Any

from django.utils import timezone

from apps.audit.services import Actor
from apps.core.errors import ConflictError, InvalidInputError, NotPermittedError
from apps.deployment.ledger.entries import Decision, append_entry, locked_scope
from apps.deployment.models import Activation, ActivationRequest, Challenger, Deployment
from apps.deployment.services.activation import activate, check_can_serve, check_preview, put_into_service
from apps.deployment.services.carry_points import carry_over, points_to_carry
from apps.deployment.services.challenge import (
    challenge,
    check_can_challenge,
    start_challenge,
    without_own_challenger,
)
from apps.deployment.services.check_release_gates import check_release_gates
from apps.registry.models import ModelVersion
from apps.tenants.models import Tenant


def request_activation(
    *,
    version: ModelVersion,
    by: Actor,
    reason: str = "",
    tenant: Tenant | None = None,
    keeps_points: bool = True,
    percent: int | None = None,
    despite_gate: bool = False,
    why_no_preview: str | None = None,
) -> ActivationRequest:
    """Request an activation that another operator confirms; it replaces an open request for the same tenant.

    Args:
        percent: the share of a canary; None requests the whole service.
        why_no_preview: as in `activate`.

    Raises:
        InvalidInputError: no operator is named, so a second one could not be recognised; or as `activate`.
        ConflictError: the version cannot serve there, or cannot keep what a tenant chose, as `activate`.
    """
    if by.user_id is None:
        raise InvalidInputError(
            "A second operator must confirm it, so name the operator who requests it: --operator EMAIL.",
            "person-missing",
        )
    with locked_scope(tenant) as scope:
        decision = Decision(by, reason, despite_gate=despite_gate, why_no_preview=why_no_preview)
        if percent is None:
            check_can_serve(scope, version)
            check_preview(scope, version, decision)
        else:
            check_can_challenge(scope, version, percent)
        check_release_gates(version, decision, serving=scope.serving)
        if keeps_points and scope.serving is not None:
            # Only to refuse now what could not be confirmed later; the confirmation carries the points over.
            points = points_to_carry(scope, scope.serving, version)
            carry_over(points if percent is None else without_own_challenger(scope, points), scope.serving, version)
        waiting = ActivationRequest.objects.filter(for_tenant=tenant, line=None, withdrawn=None).first()
        if waiting is not None:
            withdraw_request(request=waiting)
        return ActivationRequest.objects.create(
            for_tenant=tenant,
            from_version=scope.serving,
            to_version=version,
            percent=percent,
            keeps_points=keeps_points,
            despite_gate=despite_gate,
            why_no_preview=why_no_preview or "",
            by_id=by.user_id,
            actor=by.name,
            reason=reason,
            replaces=waiting,
        )


def activate_or_request(**arguments: Any) -> Activation | ActivationRequest:
    """Call `activate`, or `request_activation` where this platform requires a second operator."""
    try:
        return activate(**arguments)
    except NotPermittedError:
        return request_activation(**arguments)


def challenge_or_request(**arguments: Any) -> Activation | ActivationRequest:
    """Call `challenge`, or `request_activation` where this platform requires a second operator."""
    try:
        return challenge(**arguments)
    except NotPermittedError:
        return request_activation(**arguments)


def approve(*, request: ActivationRequest, by: Actor) -> Activation:
    """Confirm another operator's request, and carry it out.

    Raises:
        NotPermittedError: the operator made the request.
        ConflictError: it is confirmed or withdrawn, or another version is in service now than when it was made.
    """
    with locked_scope(request.for_tenant) as scope:
        # Locked: a withdrawal at the same moment waits, and then finds the request confirmed.
        fresh = ActivationRequest.objects.select_for_update(of=("self",)).get(pk=request.pk)
        if not fresh.is_open:
            raise ConflictError(fresh.closed_because)
        if fresh.by_id in (None, by.user_id):
            raise NotPermittedError("A second operator must confirm your request.", "second-approver-needed")
        if scope.serving != fresh.from_version:
            raise ConflictError(
                f"{scope.serving} is in service now, not {fresh.from_version}: request the activation again."
            )
        requested_by = Actor(name=fresh.actor, user_id=fresh.by_id)
        # Not asked again for a preview: the one that was current at the request may have expired since.
        why = fresh.why_no_preview or None
        decision = Decision(requested_by, fresh.reason, by.user_id, fresh.despite_gate, why)
        if fresh.percent is None:
            fresh.line = put_into_service(scope, fresh.to_version, decision, keeps_points=fresh.keeps_points)
        else:
            fresh.line = start_challenge(
                scope, fresh.to_version, decision, percent=fresh.percent, keeps_points=fresh.keeps_points
            )
        fresh.save(update_fields=["line"])
        return fresh.line


def withdraw_request(*, request: ActivationRequest) -> ActivationRequest:
    """Withdraw an open request.

    Raises:
        ConflictError: it is not open any more.
    """
    waiting = ActivationRequest.objects.filter(pk=request.pk, line=None, withdrawn=None)
    if not waiting.update(withdrawn=timezone.now()):
        raise ConflictError(ActivationRequest.objects.get(pk=request.pk).closed_because)
    return request


def retire(*, version: ModelVersion, by: Actor, reason: str = "") -> Activation:
    """Mark a version so that it can never serve again. Its results, evaluations and card stay.

    Requests for it are withdrawn.

    Raises:
        ConflictError: it is in service, is a challenger, or is retired already.
    """
    with locked_scope(None):
        if Deployment.objects.filter(model_version=version).exists():
            raise ConflictError(f"{version} is in service: put another version there first.")
        if Challenger.objects.filter(model_version=version, ended=None).exists():
            raise ConflictError(f"{version} is a challenger: end that first.")
        if not ModelVersion.objects.filter(pk=version.pk, retired=None).update(retired=timezone.now()):
            raise ConflictError(f"{version} is retired already.")
        requests = ActivationRequest.objects.filter(to_version=version, line=None, withdrawn=None)
        requests.update(withdrawn=timezone.now())
        return append_entry(Activation.Act.RETIRED, None, None, version, Decision(by, reason))

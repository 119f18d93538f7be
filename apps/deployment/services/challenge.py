"""Trying a version out beside the one that serves: as a shadow that nobody sees, or as a canary on a share of studies.

A canary reads for patients, so it moves like an activation: with what tenants chose carried over, and confirmed by a
second operator where the platform asks for one.
"""

import uuid
from collections.abc import Mapping
from types import MappingProxyType

from django.conf import settings
from django.utils import timezone

from apps.core.errors import ConflictError, InvalidInputError, NotPermittedError
from apps.deployment.ledger.entries import Chosen, Decision, Scope, append_entry, locked_scope
from apps.deployment.models import Activation, Challenger
from apps.deployment.points import Point
from apps.deployment.selectors import challenger_for, require_platform_version, version_for
from apps.deployment.services.carry_points import (
    carry_over,
    chosen_points,
    current_previews,
    points_to_carry,
    store_points,
)
from apps.deployment.services.check_release_gates import check_release_gates
from apps.registry.models import ModelVersion
from apps.tenants.models import Tenant

NO_POINTS: Mapping[str, Point] = MappingProxyType({})


def challenge(
    *,
    version: ModelVersion,
    actor: str,
    percent: int | None = None,
    by_id: uuid.UUID | None = None,
    reason: str = "",
    tenant: Tenant | None = None,
    keeps_points: bool = True,
    despite_gate: bool = False,
) -> Activation:
    """Start a challenger, or change the share or the manner of the one that this version is already.

    Args:
        percent: the share of studies that it reads as a canary, 1 to 99; None lets it read as a shadow.
        tenant: for its studies only; None for all tenants that have neither a version nor a challenger of their own.
        keeps_points: judge by what the tenants chose, carried over as an activation would; else by its own points.
        despite_gate: a canary although a gate was not passed, as `activate`; a shadow or a smaller share passes none.

    Raises:
        InvalidInputError: the share is none, or a gate was overridden without a reason.
        ConflictError: the version cannot be a challenger there; the detail says why.
        NotPermittedError: this platform asks for a second operator, so the canary must be requested.
    """
    with locked_scope(tenant) as scope:
        if settings.ACTIVATION_NEEDS_SECOND_APPROVER and _reads_more(_open(tenant), percent):
            raise NotPermittedError(
                "This platform asks for a second operator: request the canary, and let another one confirm it.",
                "second-approver-needed",
            )
        by = Decision(actor, by_id, reason, despite_gate=despite_gate)
        return start_challenge(scope, version, by, percent=percent, keeps_points=keeps_points)


def start_challenge(
    scope: Scope, version: ModelVersion, by: Decision, *, percent: int | None, keeps_points: bool
) -> Activation:
    """`challenge`, inside the transaction of a scope."""
    serving = check_can_challenge(scope, version, percent)
    overridden = check_release_gates(version, by) if _reads_more(_open(scope.tenant), percent) else []
    before = without_own_challenger(scope, points_to_carry(scope, serving, version))
    after: Chosen = {tenant_id: {} for tenant_id in before}
    seen = current_previews(scope.tenant, serving, version)
    if keeps_points:
        after = carry_over(before, serving, version)
    for tenant_id, points in after.items():
        store_points(version, tenant_id, points, by.actor)
    row = _open(scope.tenant) or Challenger(for_tenant=scope.tenant, model_version=version, against=serving)
    row.mode = Challenger.Mode.SHADOW if percent is None else Challenger.Mode.CANARY
    row.percent, row.keeps_points, row.actor, row.reason = percent, keeps_points, by.actor, by.reason
    row.save()
    act = Activation.Act.SHADOW if percent is None else Activation.Act.CANARY
    return append_entry(
        act, scope.tenant, serving, version, by,
        before=before, after=after, previews=seen, percent=percent, despite_gates=overridden,
    )  # fmt: skip


def check_can_challenge(scope: Scope, version: ModelVersion, percent: int | None) -> ModelVersion:
    """The version that serves there and would be challenged."""
    if percent is not None and not 1 <= percent <= 99:
        raise InvalidInputError(f"A canary reads 1 to 99 per cent of the studies, not {percent}.")
    if scope.serving is None:
        raise ConflictError("No version is in service there to challenge: activate one first.")
    if scope.serving == version:
        raise ConflictError(f"{version} is in service there: it cannot challenge itself.")
    if ModelVersion.objects.filter(pk=version.pk, retired__isnull=False).exists():
        raise ConflictError(f"{version} is retired: it must not read for anybody again.", "version-retired")
    row = _open(scope.tenant)
    if row is not None and row.model_version != version:
        raise ConflictError(f"{row} is under way: end it first.", "challenger-under-way")
    if row is not None and row.percent == percent:
        raise ConflictError(f"{row} is under way already.", "challenger-under-way")
    return scope.serving


def end_challenge(
    *, actor: str, by_id: uuid.UUID | None = None, reason: str = "", tenant: Tenant | None = None
) -> Activation:
    """End the trial. What the challenger has read so far stays, to be compared; what waits for it is dropped.

    Raises:
        ConflictError: there is none.
    """
    with locked_scope(tenant):
        row = _open(tenant)
        if row is None:
            raise ConflictError("There is no challenger to end.")
        return _end(row, Decision(actor, by_id, reason))


def end_outdated_challenges(by: Decision) -> None:
    """End the challengers of a version that serves no more, in the transaction that moved the pointer."""
    for row in Challenger.objects.filter(ended=None).select_related("model_version", "against", "for_tenant"):
        serving = version_for(row.for_tenant.pk) if row.for_tenant else require_platform_version()
        if serving != row.against:
            _end(row, Decision(by.actor, by.by_id, f"{serving} serves there now.", by.second_id))


def update_challenger_points(
    tenant_id: uuid.UUID, by: Decision, *, former: Mapping[str, Point] = NO_POINTS, or_end: bool = False
) -> None:
    """Carry what a tenant has just chosen over to the challenger that is now among its studies.

    A shadow that cannot keep a choice goes on judging by its former point: nobody is shown what it says.

    Args:
        former: what the tenant had chosen; where it goes back to the version's own point, so does the challenger.
        or_end: end a canary that cannot keep it; else refuse.

    Raises:
        ConflictError: the canary cannot keep the choice.
    """
    row = challenger_for(tenant_id)
    if row is None or not row.keeps_points:
        return
    now = chosen_points(row.against, [tenant_id])
    try:
        carried = carry_over(now, row.against, row.model_version)
    except ConflictError as error:
        if row.mode == Challenger.Mode.SHADOW:
            return
        if not or_end:
            raise ConflictError(
                f"{row.model_version} reads a share of these studies on trial and cannot keep this choice. Choose a "
                "sensitivity or a specificity, or ask the platform's operator to end the trial first.",
                "canary-cannot-follow",
            ) from error
        _end(row, Decision(by.actor, by.by_id, f"It could not keep what a tenant chose. {error.detail}"))
        return
    lost_points = former.keys() - now[tenant_id].keys()
    after = {tenant_id: {label: point for label, point in carried[tenant_id].items() if label not in lost_points}}
    before = chosen_points(row.model_version, [tenant_id])
    if after == before:
        return
    tenant = Tenant.objects.get(pk=tenant_id)
    seen = current_previews(tenant, row.against, row.model_version)
    store_points(row.model_version, tenant_id, after[tenant_id], by.actor)
    act = Activation.Act.SHADOW if row.percent is None else Activation.Act.CANARY
    follows = Decision(by.actor, by.by_id, "Judges by the points that the tenant chose.")
    append_entry(
        act, tenant, row.against, row.model_version, follows,
        before=before, after=after, previews=seen, percent=row.percent,
    )  # fmt: skip


def without_own_challenger(scope: Scope, by_tenant: Chosen) -> Chosen:
    """The platform's trial leaves the points of a tenant alone that has a challenger of its own."""
    if scope.tenant is not None:
        return by_tenant
    own = set(Challenger.objects.filter(ended=None).exclude(for_tenant=None).values_list("for_tenant_id", flat=True))
    return {tenant_id: points for tenant_id, points in by_tenant.items() if tenant_id not in own}


def _open(tenant: Tenant | None) -> Challenger | None:
    rows = Challenger.objects.filter(for_tenant=tenant, ended=None)
    return rows.select_related("model_version", "against", "for_tenant").first()


def _reads_more(row: Challenger | None, percent: int | None) -> bool:
    """Whether more patients would be read by the challenger than were before."""
    return percent is not None and percent > ((row.percent or 0) if row else 0)


def _end(row: Challenger, by: Decision) -> Activation:
    row.ended = timezone.now()
    row.save(update_fields=["ended"])
    line = append_entry(Activation.Act.CHALLENGE_ENDED, row.for_tenant, row.against, row.model_version, by)
    if row.for_tenant_id is not None:
        # The platform's challenger, if there is one, is from now on among this tenant's studies.
        update_challenger_points(row.for_tenant_id, by, or_end=True)
    return line

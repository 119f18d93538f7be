"""Challengers: a version on trial beside the one in service, as a shadow or as a canary on a share of the studies.

A canary reads for patients, so it starts like an activation: the tenants' operating points are carried over, and a
second operator confirms it where the platform requires one.
"""

import uuid
from collections.abc import Mapping
from types import MappingProxyType

from django.conf import settings
from django.utils import timezone

from apps.audit.services import Actor
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
    by: Actor,
    percent: int | None = None,
    reason: str = "",
    tenant: Tenant | None = None,
    keeps_points: bool = True,
    despite_gate: bool = False,
) -> Activation:
    """Start a challenger, or change the mode or the share of the one that this version is already.

    Args:
        percent: the share of studies that it reads as a canary, 1 to 99; None lets it read as a shadow.
        tenant: for its studies only; None for all tenants that have neither a version nor a challenger of their own.
        keeps_points: carry over what the tenants chose, as an activation would; else the version's own points apply.
        despite_gate: override release gates, as in `activate`; a shadow or a smaller share needs no release gate.

    Raises:
        InvalidInputError: the share is out of range, or a release gate was overridden without a reason.
        ConflictError: the version cannot be a challenger there; the detail says why.
        NotPermittedError: this platform requires a second operator, so the canary must be requested.
    """
    with locked_scope(tenant) as scope:
        if settings.ACTIVATION_NEEDS_SECOND_APPROVER and _reads_more(_running(tenant), percent):
            raise NotPermittedError(
                "This platform requires a second operator: request the canary, and let another one confirm it.",
                "second-approver-needed",
            )
        decision = Decision(by, reason, despite_gate=despite_gate)
        return start_challenge(scope, version, decision, percent=percent, keeps_points=keeps_points)


def start_challenge(
    scope: Scope, version: ModelVersion, decision: Decision, *, percent: int | None, keeps_points: bool
) -> Activation:
    """Do the work of `challenge` inside the transaction of a scope."""
    serving = check_can_challenge(scope, version, percent)
    reads_more = _reads_more(_running(scope.tenant), percent)
    overridden = check_release_gates(version, decision, serving=serving) if reads_more else []
    before = without_own_challenger(scope, points_to_carry(scope, serving, version))
    after: Chosen = {tenant_id: {} for tenant_id in before}
    previews = current_previews(scope.tenant, serving, version)
    if keeps_points:
        after = carry_over(before, serving, version)
    for tenant_id, points in after.items():
        store_points(version, tenant_id, points, decision.by)
    row = _running(scope.tenant) or Challenger(for_tenant=scope.tenant, model_version=version, against=serving)
    row.mode = Challenger.Mode.SHADOW if percent is None else Challenger.Mode.CANARY
    row.percent, row.keeps_points = percent, keeps_points
    row.actor, row.reason = decision.by.name, decision.reason
    row.save()
    act = Activation.Act.SHADOW if percent is None else Activation.Act.CANARY
    return append_entry(
        act, scope.tenant, serving, version, decision,
        before=before, after=after, previews=previews, percent=percent, despite_gates=overridden,
    )  # fmt: skip


def check_can_challenge(scope: Scope, version: ModelVersion, percent: int | None) -> ModelVersion:
    """The version in service there, which would be challenged.

    Raises:
        InvalidInputError, ConflictError: the version cannot be a challenger there, as `challenge`.
    """
    if percent is not None and not 1 <= percent <= 99:
        raise InvalidInputError(f"A canary reads 1 to 99 per cent of the studies, not {percent}.")
    if scope.serving is None:
        raise ConflictError("No version is in service there to challenge: activate one first.")
    if scope.serving == version:
        raise ConflictError(f"{version} is in service there: it cannot challenge itself.")
    if ModelVersion.objects.filter(pk=version.pk, retired__isnull=False).exists():
        raise ConflictError(f"{version} is retired: it must not read again.", "version-retired")
    row = _running(scope.tenant)
    if row is not None and row.model_version != version:
        raise ConflictError(f"{row} is under way: end it first.", "challenger-under-way")
    if row is not None and row.percent == percent:
        raise ConflictError(f"{row} is under way already.", "challenger-under-way")
    return scope.serving


def end_challenge(*, by: Actor, reason: str = "", tenant: Tenant | None = None) -> Activation:
    """End the trial. What the challenger has read is kept for the comparison; its waiting readings are dropped.

    Raises:
        ConflictError: there is none.
    """
    with locked_scope(tenant):
        row = _running(tenant)
        if row is None:
            raise ConflictError("There is no challenger to end.")
        return _end(row, Decision(by, reason))


def end_outdated_challenges(decision: Decision) -> None:
    """End the challengers of a version that serves no more, in the transaction that replaced it."""
    for row in Challenger.objects.filter(ended=None).select_related("model_version", "against", "for_tenant"):
        serving = version_for(row.for_tenant.pk) if row.for_tenant else require_platform_version()
        if serving != row.against:
            _end(row, Decision(decision.by, f"{serving} serves there now.", decision.second_id))


def update_challenger_points(
    tenant_id: uuid.UUID, decision: Decision, *, former: Mapping[str, Point] = NO_POINTS, or_end: bool = False
) -> None:
    """Carry a tenant's new operating points over to the challenger that reads its studies.

    A shadow that cannot keep a choice keeps its former point: no clinician sees what it flags.

    Args:
        former: what the tenant had chosen; where it returns to the version's own point, so does the challenger.
        or_end: end a canary that cannot keep the choice; else refuse the choice.

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
        _end(row, Decision(decision.by, f"It could not keep what a tenant chose. {error.detail}"))
        return
    removed = former.keys() - now[tenant_id].keys()
    after = {tenant_id: {label: point for label, point in carried[tenant_id].items() if label not in removed}}
    before = chosen_points(row.model_version, [tenant_id])
    if after == before:
        return
    tenant = Tenant.objects.get(pk=tenant_id)
    previews = current_previews(tenant, row.against, row.model_version)
    store_points(row.model_version, tenant_id, after[tenant_id], decision.by)
    act = Activation.Act.SHADOW if row.percent is None else Activation.Act.CANARY
    append_entry(
        act, tenant, row.against, row.model_version, Decision(decision.by, "Follows the points that the tenant chose."),
        before=before, after=after, previews=previews, percent=row.percent,
    )  # fmt: skip


def without_own_challenger(scope: Scope, by_tenant: Chosen) -> Chosen:
    """Leave out tenants that have a challenger of their own: the platform's trial does not change their points."""
    if scope.tenant is not None:
        return by_tenant
    own = set(Challenger.objects.filter(ended=None).exclude(for_tenant=None).values_list("for_tenant_id", flat=True))
    return {tenant_id: points for tenant_id, points in by_tenant.items() if tenant_id not in own}


def _running(tenant: Tenant | None) -> Challenger | None:
    rows = Challenger.objects.filter(for_tenant=tenant, ended=None)
    return rows.select_related("model_version", "against", "for_tenant").first()


def _reads_more(row: Challenger | None, percent: int | None) -> bool:
    """Whether the challenger would read for more patients than before."""
    return percent is not None and percent > ((row.percent or 0) if row else 0)


def _end(row: Challenger, decision: Decision) -> Activation:
    row.ended = timezone.now()
    row.save(update_fields=["ended"])
    entry = append_entry(Activation.Act.CHALLENGE_ENDED, row.for_tenant, row.against, row.model_version, decision)
    if row.for_tenant_id is not None:
        # From now on the platform's challenger, if there is one, reads this tenant's studies.
        update_challenger_points(row.for_tenant_id, decision, or_end=True)
    return entry

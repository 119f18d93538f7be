"""Changes of what is in service: the transaction in which one is made, and the ledger entry that it leaves."""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Max

from apps.audit.services import Actor
from apps.core.errors import ConflictError
from apps.core.wake_up import WakeUp, wake_after_commit
from apps.deployment.change_plan import current_plan
from apps.deployment.ledger.audit import record_entry
from apps.deployment.ledger.events import publish_entry
from apps.deployment.models import Activation, Deployment, Recalibration
from apps.deployment.points import Point
from apps.registry.models import ModelVersion
from apps.tenants.models import Tenant

# What tenants chose: {tenant id: {label: point}}.
Chosen = Mapping[uuid.UUID, Mapping[str, Point]]


@dataclass(frozen=True)
class Decision:
    """Who changes what is in service, and why.

    Attributes:
        second_id: the operator who confirmed it, where the platform requires a second one.
        despite_gate: the change overrides the floor and release gates that were not passed.
        why_no_preview: why the switch was not previewed; None where no person was asked.
    """

    by: Actor
    reason: str
    second_id: uuid.UUID | None = None
    despite_gate: bool = False
    why_no_preview: str | None = None


@dataclass(frozen=True)
class Scope:
    """The tenant that a change is for (None: the platform), and what is in service there before it."""

    tenant: Tenant | None
    own: Deployment | None
    platform: Deployment | None

    @property
    def serving(self) -> ModelVersion | None:
        deployment = self.own or self.platform
        return deployment.model_version if deployment else None


@contextmanager
def locked_scope(tenant: Tenant | None) -> Iterator[Scope]:
    """Open the transaction of one change; no other deployment or operating point can change until it ends.

    Every change locks the platform's deployment. Where there is none yet, unique keys let only one change through.

    Raises:
        ConflictError: another first activation was made at the same moment.
    """
    try:
        with transaction.atomic():
            # No join: while this waits for the lock, the row may get another version, and a join would lose the row.
            platform = Deployment.objects.select_for_update().filter(for_tenant=None).first()
            own = Deployment.objects.filter(for_tenant=tenant).first() if tenant else platform
            yield Scope(tenant, own, platform)
    except IntegrityError as error:
        raise ConflictError(
            "Another operator changed what is in service at the same moment: look at it, and try again."
        ) from error


def append_entry(
    act: str,
    tenant: Tenant | None,
    from_version: ModelVersion | None,
    to_version: ModelVersion,
    decision: Decision,
    *,
    before: Chosen | None = None,
    after: Chosen | None = None,
    previews: Mapping[str, str] | None = None,
    percent: int | None = None,
    label: str = "",
    despite_gates: Sequence[Mapping[str, Any]] = (),
    undoes: Activation | None = None,
    own_before: bool | None = None,
    recalibration: Recalibration | None = None,
    recalibration_before: Recalibration | None = None,
) -> Activation:
    """Write the next ledger entry and its audit events, publish it, and wake the workers after the commit."""
    entry = Activation.objects.create(
        number=(Activation.objects.aggregate(last=Max("number"))["last"] or 0) + 1,
        act=act,
        for_tenant=tenant,
        from_version=from_version,
        to_version=to_version,
        thresholds=to_version.thresholds,
        points_before=_points_to_json(before or {}),
        points_after=_points_to_json(after or {}),
        previews=dict(previews or {}),
        percent=percent,
        label=label,
        despite_gates=list(despite_gates),
        why_no_preview="" if previews else decision.why_no_preview or "",
        undoes=undoes,
        own_before=own_before,
        change_plan=current_plan(),
        recalibration=recalibration,
        recalibration_before=recalibration_before,
        by_id=decision.by.user_id,
        second_id=decision.second_id,
        actor=decision.by.name,
        reason=decision.reason,
    )
    publish_entry(entry)
    record_entry(entry)
    wake_after_commit(WakeUp.INFER)
    return entry


def _points_to_json(chosen: Chosen) -> dict[str, dict[str, Any]]:
    return {
        str(tenant_id): {label: point.to_dict() for label, point in points.items()}
        for tenant_id, points in chosen.items()
    }


def points_from_json(stored: Mapping[str, Mapping[str, Any]]) -> Chosen:
    """The tenants' operating points, as a ledger entry stores them."""
    return {
        uuid.UUID(tenant_id): {label: Point(**point) for label, point in points.items()}
        for tenant_id, points in stored.items()
    }

"""The transaction in which a pointer or an operating point moves, and the line that it leaves."""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Max

from apps.core.errors import ConflictError
from apps.core.wake_up import WakeUp, wake_after_commit
from apps.deployment.ledger.audit import record_entry
from apps.deployment.models import Activation, Deployment
from apps.deployment.points import Point
from apps.deployment.release_gates import ReleaseGate
from apps.deployment.services.events import publish_entry
from apps.registry.models import ModelVersion
from apps.tenants.models import Tenant

# What tenants chose: {tenant id: {label: point}}.
Chosen = Mapping[uuid.UUID, Mapping[str, Point]]


@dataclass(frozen=True)
class Decision:
    """Who acts, and why."""

    actor: str
    by_id: uuid.UUID | None
    reason: str
    second_id: uuid.UUID | None = None
    despite_gate: bool = False


@dataclass(frozen=True)
class Scope:
    """Whom a move is for, and what serves there before it."""

    tenant: Tenant | None
    own: Deployment | None
    platform: Deployment | None

    @property
    def serving(self) -> ModelVersion | None:
        pointer = self.own or self.platform
        return pointer.model_version if pointer else None


@contextmanager
def locked_scope(tenant: Tenant | None) -> Iterator[Scope]:
    """One transaction in which nobody else moves a pointer or an operating point.

    Every move locks the platform's pointer. Where there is none yet, unique keys let one of two moves through.
    """
    try:
        with transaction.atomic():
            # Without a join: the row that was waited for may point elsewhere by then, and a join would lose it.
            platform = Deployment.objects.select_for_update().filter(for_tenant=None).first()
            own = Deployment.objects.filter(for_tenant=tenant).first() if tenant else platform
            yield Scope(tenant, own, platform)
    except IntegrityError as error:
        raise ConflictError("Somebody else moved a pointer at the same moment; look, and try again.") from error


def append_entry(
    act: str,
    tenant: Tenant | None,
    from_version: ModelVersion | None,
    to_version: ModelVersion,
    by: Decision,
    *,
    before: Chosen | None = None,
    after: Chosen | None = None,
    previews: Mapping[str, str] | None = None,
    percent: int | None = None,
    despite_gates: Sequence[ReleaseGate] = (),
    undoes: Activation | None = None,
    own_before: bool | None = None,
) -> Activation:
    """Write the next line, also into the hospitals' trails, and tell the workers and whoever wants to hear of it."""
    line = Activation.objects.create(
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
        despite_gates=[gate.to_dict() for gate in despite_gates],
        undoes=undoes,
        own_before=own_before,
        by_id=by.by_id,
        second_id=by.second_id,
        actor=by.actor,
        reason=by.reason,
    )
    publish_entry(line)
    record_entry(line)
    wake_after_commit(WakeUp.INFER)
    return line


def _points_to_json(chosen: Chosen) -> dict[str, dict[str, Any]]:
    return {
        str(tenant_id): {label: point.to_dict() for label, point in points.items()}
        for tenant_id, points in chosen.items()
    }


def points_from_json(stored: Mapping[str, Mapping[str, Any]]) -> Chosen:
    """What a line had kept of the tenants' choices."""
    return {
        uuid.UUID(tenant_id): {label: Point(**point) for label, point in points.items()}
        for tenant_id, points in stored.items()
    }

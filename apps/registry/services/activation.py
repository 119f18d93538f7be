"""Moving the pointers: into service for the platform or for one tenant, and back. Each move is a line of the ledger."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from django.db import IntegrityError, transaction
from django.db.models import Max

from apps.core.errors import ConflictError
from apps.registry.models import Activation, Deployment, ModelVersion
from apps.tenants.models import Tenant


@dataclass(frozen=True)
class _By:
    """Who moves a pointer, and why."""

    actor: str
    by_id: uuid.UUID | None
    reason: str


@dataclass(frozen=True)
class _Scope:
    """Whom a move is for, and what serves there before it."""

    tenant: Tenant | None
    own: Deployment | None
    platform: Deployment | None

    @property
    def serving(self) -> ModelVersion | None:
        pointer = self.own or self.platform
        return pointer.model_version if pointer else None


def activate(
    *,
    version: ModelVersion,
    actor: str,
    by_id: uuid.UUID | None = None,
    reason: str = "",
    tenant: Tenant | None = None,
) -> Activation:
    """Put a version into service, for the whole platform or pinned for one tenant, and write it into the ledger.

    Raises:
        ConflictError: it serves there already, or somebody else moved the same pointer first.
    """
    with _moving(tenant) as scope:
        if scope.own is not None and scope.own.model_version == version:
            raise ConflictError(f"{version} is in service already.")
        return _move(scope, version, Activation.Act.ACTIVATED, _By(actor, by_id, reason))


def roll_back(
    *, actor: str, by_id: uuid.UUID | None = None, reason: str = "", tenant: Tenant | None = None
) -> Activation:
    """Take back the last move: the version serves again that served there before it.

    A tenant whose former version is by now the platform's follows the platform again.

    Raises:
        ConflictError: there is none.
    """
    with _moving(tenant) as scope:
        last = Activation.objects.filter(for_tenant=tenant).first()
        if last is None or last.from_version is None:
            raise ConflictError("There is no earlier version to roll back to.")
        return _move(scope, last.from_version, Activation.Act.ROLLED_BACK, _By(actor, by_id, reason))


def unpin(*, tenant: Tenant, actor: str, by_id: uuid.UUID | None = None, reason: str = "") -> Activation:
    """Let a tenant follow the platform's pointer again.

    Raises:
        ConflictError: it does already, or there is nothing to follow.
    """
    with _moving(tenant) as scope:
        if scope.own is None:
            raise ConflictError(f"{tenant} has no version of its own: it follows the platform already.")
        if scope.platform is None:
            raise ConflictError("No version is in service for the platform: there would be none left.")
        return _move(scope, scope.platform.model_version, Activation.Act.UNPINNED, _By(actor, by_id, reason))


@contextmanager
def _moving(tenant: Tenant | None) -> Iterator[_Scope]:
    """One transaction in which nobody else moves a pointer.

    Every move locks the platform's pointer. Where there is none yet, unique keys let one of two moves through.
    """
    try:
        with transaction.atomic():
            # Without a join: the row that was waited for may point elsewhere by then, and a join would lose it.
            platform = Deployment.objects.select_for_update().filter(for_tenant=None).first()
            own = Deployment.objects.filter(for_tenant=tenant).first() if tenant else platform
            yield _Scope(tenant, own, platform)
    except IntegrityError as error:
        raise ConflictError("Somebody else moved a pointer at the same moment; look, and try again.") from error


def _move(scope: _Scope, version: ModelVersion, act: str, by: _By) -> Activation:
    previous = scope.serving
    _point(scope, version, act)
    return Activation.objects.create(
        number=(Activation.objects.aggregate(last=Max("number"))["last"] or 0) + 1,
        act=act,
        for_tenant=scope.tenant,
        from_version=previous,
        to_version=version,
        thresholds=version.thresholds,
        by_id=by.by_id,
        actor=by.actor,
        reason=by.reason,
    )


def _point(scope: _Scope, version: ModelVersion, act: str) -> None:
    follows = scope.tenant is not None and scope.platform is not None and scope.platform.model_version == version
    if follows and act != Activation.Act.ACTIVATED:
        Deployment.objects.filter(for_tenant=scope.tenant).delete()
    else:
        Deployment.objects.update_or_create(for_tenant=scope.tenant, defaults={"model_version": version})

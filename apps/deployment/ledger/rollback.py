"""Which line of the ledger a rollback takes back, and what read before."""

from collections.abc import Iterator
from uuid import UUID

from apps.core.errors import ConflictError
from apps.deployment.models import Activation
from apps.registry.models import ModelVersion


def entries_not_rolled_back(tenant_id: UUID | None) -> Iterator[Activation]:
    """A scope's moves and changes of points that no rollback has taken back, newest first."""
    lines = Activation.objects.filter(for_tenant_id=tenant_id).exclude(act__in=Activation.ASIDE)
    below = None
    for line in lines.select_related("from_version", "to_version", "undoes").iterator(chunk_size=50):
        if below is not None and line.number >= below:
            continue
        if line.undoes is None:
            yield line
        else:
            below = line.undoes.number


def rollback_target(tenant_id: UUID | None, serving: ModelVersion | None) -> Activation:
    """The line to take back: the last that stands, or an earlier one where that would bring a retired version back.

    A tenant's change of points on a version that no longer serves it is passed over: nothing is judged by them now.

    Raises:
        ConflictError: there is no earlier version, or none that may read.
    """
    retired = passed = elsewhere = None
    for line in entries_not_rolled_back(tenant_id):
        if passed is None and line.act == Activation.Act.POINTS and line.to_version != serving:
            elsewhere = line.to_version
            continue
        if line.from_version is None or passed not in (None, line.to_version):
            break
        # Passing over may lead back to what serves now, whose points have changed since.
        if line.from_version.retired is None and (passed is None or line.from_version != serving):
            return line
        passed = line.from_version
        retired = retired or passed
    if retired is None:
        told = f" The points that were changed on {elsewhere} read for nobody now." if elsewhere else ""
        raise ConflictError(f"There is no earlier version to roll back to.{told}")
    raise ConflictError(
        f"{retired} is retired and must not read for anybody again, and nothing read before it: activate a version.",
        "version-retired",
    )


def former_version(tenant_id: UUID | None, version_id: UUID) -> ModelVersion | None:
    """What read in a scope before this version, as far as no rollback took it back; None where nothing did.

    For whoever cannot load the version that a pointer names.
    """
    for line in entries_not_rolled_back(tenant_id):
        former = line.from_version
        if former is not None and former.pk != version_id and former.retired is None:
            return former
    return None

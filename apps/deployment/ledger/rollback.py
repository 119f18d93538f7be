"""The rollback target: which ledger entry a rollback undoes, and which version read before it."""

from collections.abc import Iterator
from uuid import UUID

from apps.core.errors import ConflictError
from apps.deployment.models import Activation
from apps.registry.models import ModelVersion


def entries_not_rolled_back(tenant_id: UUID | None) -> Iterator[Activation]:
    """A scope's activations and changes of operating points that no rollback has undone, newest first."""
    entries = Activation.objects.filter(for_tenant_id=tenant_id).exclude(act__in=Activation.ASIDE)
    below = None
    for entry in entries.select_related("from_version", "to_version", "undoes").iterator(chunk_size=50):
        if below is not None and entry.number >= below:
            continue
        if entry.undoes is None:
            yield entry
        else:
            below = entry.undoes.number


def rollback_target(tenant_id: UUID | None, serving: ModelVersion | None) -> Activation:
    """The ledger entry that a rollback undoes.

    It is the last one that no rollback has undone, or an earlier one where that would bring a retired version
    back. A tenant's change of points on a version that no longer serves it is skipped: those points flag nothing now.

    Raises:
        ConflictError: there is no earlier version, or all earlier versions are retired.
    """
    retired = skipped = elsewhere = None
    for entry in entries_not_rolled_back(tenant_id):
        if skipped is None and entry.act == Activation.Act.POINTS and entry.to_version != serving:
            elsewhere = entry.to_version
            continue
        if entry.from_version is None or skipped not in (None, entry.to_version):
            break
        # After a skipped entry, the former version may be the one in service now, with other points since.
        if entry.from_version.retired is None and (skipped is None or entry.from_version != serving):
            return entry
        skipped = entry.from_version
        retired = retired or skipped
    if retired is None:
        note = f" The operating points that were changed on {elsewhere} are not in use now." if elsewhere else ""
        raise ConflictError(f"There is no earlier version to roll back to.{note}")
    raise ConflictError(
        f"{retired} is retired and must not read again, and no version read before it: activate a version instead.",
        "version-retired",
    )


def rollback_description(tenant_id: UUID | None, serving: ModelVersion | None) -> str:
    """What a rollback would bring back, in words; empty where there is nothing to roll back to."""
    try:
        return describe_rollback(rollback_target(tenant_id, serving))
    except ConflictError:
        return ""


def describe_rollback(entry: Activation) -> str:
    """What the rollback that undoes this ledger entry would bring back, in words."""
    if entry.act == Activation.Act.POINTS:
        return f"Back to the operating points before ledger entry {entry.number}"
    return f"Back to {entry.from_version}"


def former_version(tenant_id: UUID | None, version_id: UUID) -> ModelVersion | None:
    """The version that read in a scope before this one; None where there was none, or rollbacks took it back.

    A worker uses it that cannot load the version in service.
    """
    for entry in entries_not_rolled_back(tenant_id):
        former = entry.from_version
        if former is not None and former.pk != version_id and former.retired is None:
            return former
    return None

"""Changing the operating points by which a tenant's findings are judged."""

import uuid
from collections.abc import Mapping, Sequence

from apps.core.errors import ConflictError
from apps.deployment.ledger.entries import By, append, moving
from apps.deployment.models import Activation
from apps.deployment.points import Choice, curves, resolve
from apps.deployment.services.challenge import keep_in_step
from apps.deployment.services.points import chosen, write
from apps.registry.models import ModelVersion
from apps.tenants.models import Tenant


def set_points(
    *,
    tenant: Tenant,
    version: ModelVersion,
    choices: Mapping[str, Choice | None],
    recent: Mapping[str, Sequence[float]],
    actor: str,
    by_id: uuid.UUID | None = None,
    reason: str = "",
) -> Activation:
    """Judge a tenant's findings by other operating points from the next result on; all of them or none.

    Args:
        version: the one that serves the tenant, as whoever chooses has seen it.
        choices: by label; None goes back to the version's own point.
        recent: the version's probabilities by label on the tenant's recent studies, for shares of flagged studies.

    Raises:
        InvalidInputError: a choice cannot be met.
        ConflictError: another version serves the tenant by now, nothing would change, or a canary there could not
            follow.
    """
    with moving(tenant) as scope:
        if scope.serving != version:
            raise ConflictError(f"{scope.serving or 'No version'} serves {tenant} by now, not {version}: look again.")
        known = curves(version)
        before = chosen(version, [tenant.pk])
        after = dict(before[tenant.pk])
        for label, choice in choices.items():
            if choice is None:
                after.pop(label, None)
            else:
                after[label] = resolve(version, label, choice, known.get(label), recent.get(label, ()))
        if after == before[tenant.pk]:
            raise ConflictError("Nothing would change: that is in force already.", "unchanged")
        write(version, tenant.pk, after, actor)
        by = By(actor, by_id, reason)
        line = append(Activation.Act.POINTS, tenant, version, version, by, before=before, after={tenant.pk: after})
        keep_in_step(tenant.pk, by, former=before[tenant.pk])
        return line

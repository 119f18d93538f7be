"""Changing the operating points by which a tenant's findings are judged."""

import uuid
from collections.abc import Mapping, Sequence

from apps.core.errors import ConflictError
from apps.deployment.ledger.entries import Decision, append_entry, locked_scope
from apps.deployment.models import Activation
from apps.deployment.points import Choice, operating_curves, resolve_choice
from apps.deployment.services.carry_points import chosen_points, store_points
from apps.deployment.services.challenge import update_challenger_points
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
    with locked_scope(tenant) as scope:
        if scope.serving != version:
            raise ConflictError(f"{scope.serving or 'No version'} serves {tenant} by now, not {version}: look again.")
        known = operating_curves(version)
        before = chosen_points(version, [tenant.pk])
        after = dict(before[tenant.pk])
        for label, choice in choices.items():
            if choice is None:
                after.pop(label, None)
            else:
                after[label] = resolve_choice(version, label, choice, known.get(label), recent.get(label, ()))
        if after == before[tenant.pk]:
            raise ConflictError("Nothing would change: that is in force already.", "unchanged")
        store_points(version, tenant.pk, after, actor)
        by = Decision(actor, by_id, reason)
        line = append_entry(
            Activation.Act.POINTS, tenant, version, version, by, before=before, after={tenant.pk: after}
        )
        update_challenger_points(tenant.pk, by, former=before[tenant.pk])
        return line

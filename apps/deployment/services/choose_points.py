"""A tenant's choice of operating points for the version that serves it."""

from collections.abc import Mapping, Sequence

from django.utils.translation import gettext as _

from apps.audit.services import Actor
from apps.core.errors import ConflictError
from apps.deployment.ledger.entries import Decision, append_entry, locked_scope
from apps.deployment.models import Activation
from apps.deployment.points import PointChoice, operating_curves, resolve_choice
from apps.deployment.services.carry_points import chosen_points, store_points
from apps.deployment.services.challenge import update_challenger_points
from apps.registry.models import ModelVersion
from apps.tenants.models import Tenant


def set_points(
    *,
    tenant: Tenant,
    version: ModelVersion,
    choices: Mapping[str, PointChoice | None],
    recent: Mapping[str, Sequence[float]],
    by: Actor,
    reason: str = "",
) -> Activation:
    """Change a tenant's operating points, from the next result on; all of the choices or none.

    Args:
        version: the version that the person saw in service when choosing.
        choices: by label; None returns to the version's own point.
        recent: the version's calibrated probabilities, 0 to 1, by label on the tenant's recent studies; the strategy
            `alert_rate` needs them.

    Raises:
        InvalidInputError: a choice cannot be met.
        ConflictError: another version serves the tenant now, nothing would change, or a canary there could not keep
            the choice.
    """
    with locked_scope(tenant) as scope:
        if scope.serving != version:
            raise ConflictError(
                _("%(value)s serves %(tenant)s now, not %(version)s: look again.")
                % {"value": scope.serving or "No version", "tenant": tenant, "version": version}
            )
        curves = operating_curves(version)
        before = chosen_points(version, [tenant.pk])
        after = dict(before[tenant.pk])
        for label, choice in choices.items():
            if choice is None:
                after.pop(label, None)
            else:
                after[label] = resolve_choice(version, label, choice, curves.get(label), recent.get(label, ()))
        if after == before[tenant.pk]:
            raise ConflictError(_("Nothing would change: these operating points are in force already."), "unchanged")
        store_points(version, tenant.pk, after, by)
        decision = Decision(by, reason)
        entry = append_entry(
            Activation.Act.POINTS, tenant, version, version, decision, before=before, after={tenant.pk: after}
        )
        update_challenger_points(tenant.pk, decision, former=before[tenant.pk])
        return entry

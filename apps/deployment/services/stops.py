"""Stopping the AI for a tenant or for one label of it, and starting it again.

A stop is no rollback: the version and the operating points stay, and studies are stored, listed and reported as ever.
"""

from django.utils.translation import gettext as _

from apps.audit.services import Actor
from apps.core.errors import ConflictError, InvalidInputError
from apps.deployment.ledger.entries import Decision, append_entry, locked_scope
from apps.deployment.models import Activation, AiStop
from apps.registry.models import ModelVersion
from apps.tenants.models import Tenant


def stop_ai(*, tenant: Tenant, by: Actor, reason: str, label: str = "") -> Activation:
    """Stop the AI for a tenant from the next result on, those being computed included.

    Args:
        label: the only finding to leave out; empty stops the whole AI.

    Raises:
        InvalidInputError: there is no reason, or the version in service has no such finding.
        ConflictError: no version is in service there, or it is stopped already.
    """
    if not reason.strip():
        raise InvalidInputError(_("Say why the AI is stopped."), "reason-missing")
    with locked_scope(tenant) as scope:
        version = _require(scope.serving, tenant)
        if label and label not in version.manifest["labels"]:
            raise InvalidInputError(
                _("%(version)s has no finding %(label)s.") % {"version": version, "label": repr(label)}, "label-unknown"
            )
        stop = {"actor": by.name, "reason": reason}
        if not AiStop.objects.get_or_create(for_tenant=tenant, label=label, defaults=stop)[1]:
            raise ConflictError(
                _("%(named)s is stopped already for %(tenant)s.") % {"named": _named(label), "tenant": tenant},
                "unchanged",
            )
        decision = Decision(by, reason)
        return append_entry(Activation.Act.AI_STOPPED, tenant, version, version, decision, label=label)


def start_ai(*, tenant: Tenant, by: Actor, reason: str = "", label: str = "") -> Activation:
    """End a stop; from the next result on, the AI reads again.

    Raises:
        ConflictError: it is not stopped, or no version is in service.
    """
    with locked_scope(tenant) as scope:
        version = _require(scope.serving, tenant)
        if not AiStop.objects.filter(for_tenant=tenant, label=label).delete()[0]:
            raise ConflictError(
                _("%(named)s is not stopped for %(tenant)s.") % {"named": _named(label), "tenant": tenant}, "unchanged"
            )
        decision = Decision(by, reason)
        return append_entry(Activation.Act.AI_STARTED, tenant, version, version, decision, label=label)


def _require(version: ModelVersion | None, tenant: Tenant) -> ModelVersion:
    if version is None:
        raise ConflictError(_("No version is in service for %(tenant)s.") % {"tenant": tenant}, "no-model-in-service")
    return version


def _named(label: str) -> str:
    return f"The finding {label}" if label else "The AI"

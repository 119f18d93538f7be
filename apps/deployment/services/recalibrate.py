"""Recalibrations: propose one with its preview, put it into force, take it back."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.db.models import Max
from django.utils.translation import gettext as _

from apps.audit.services import Actor
from apps.core.errors import ConflictError
from apps.deployment.ledger.entries import Decision, append_entry, locked_scope
from apps.deployment.models import Activation, AppliedRecalibration, Recalibration
from apps.deployment.selectors import recalibration_for
from apps.registry.models import ModelVersion
from apps.tenants.models import Tenant


def propose_recalibration(
    *,
    tenant: Tenant,
    version: ModelVersion,
    method: str,
    fits: Mapping[str, Mapping[str, float]],
    evidence: Mapping[str, Any],
    preview: Mapping[str, Any],
    by: Actor,
) -> Recalibration:
    """Store a recalibration that is not in force yet, with the preview that a person will decide on.

    Args:
        fits: {label: {"a": slope, "b": offset}} on the logit of the version's calibrated probability.
    """
    text = json.dumps(preview, sort_keys=True, allow_nan=False)
    with transaction.atomic():
        # Locked: two proposals at the same moment must not get one number.
        Tenant.objects.select_for_update(no_key=True).get(pk=tenant.pk)
        of_pair = Recalibration.objects.filter(for_tenant=tenant, model_version=version)
        return Recalibration.objects.create(
            number=(of_pair.aggregate(last=Max("number"))["last"] or 0) + 1,
            for_tenant=tenant,
            model_version=version,
            method=method,
            fits=fits,
            evidence=evidence,
            replaces=recalibration_for(version, tenant.pk),
            preview_json=text,
            sha256=hashlib.sha256(text.encode()).hexdigest(),
            by_id=by.user_id,
            actor=by.name,
        )


def apply_recalibration(*, recalibration: Recalibration, by: Actor, reason: str) -> Activation:
    """Put a proposed recalibration into force, from the next result on.

    Raises:
        ConflictError: it is in force, or something else is in force than when it was previewed.
    """
    tenant, version = recalibration.for_tenant, recalibration.model_version
    with locked_scope(tenant) as scope:
        if scope.serving != version:
            raise ConflictError(
                _("%(serving)s serves %(tenant)s now, not %(version)s: preview again.")
                % {"serving": scope.serving or _("No version"), "tenant": tenant, "version": version}
            )
        before = recalibration_for(version, tenant.pk)
        if before == recalibration:
            raise ConflictError(_("This recalibration is in force already."), "unchanged")
        if recalibration.replaces != before:
            raise ConflictError(
                _("%(recalibration)s is in force now, and the preview compared with something else: preview it again.")
                % {"recalibration": before or _("The version as it is")},
                "preview-outdated",
            )
        return _put_into_force(tenant, version, before, recalibration, Decision(by, reason))


def undo_recalibration(*, tenant: Tenant, version: ModelVersion, by: Actor, reason: str = "") -> Activation:
    """Put back what was in force before the last change of a tenant's recalibration. A second call puts that back.

    Raises:
        ConflictError: there was no change, or another version serves the tenant.
    """
    with locked_scope(tenant) as scope:
        if scope.serving != version:
            raise ConflictError(
                _("%(serving)s serves %(tenant)s now, not %(version)s: look again.")
                % {"serving": scope.serving or _("No version"), "tenant": tenant, "version": version}
            )
        entries = Activation.objects.filter(act=Activation.Act.RECALIBRATED, for_tenant=tenant, to_version=version)
        last = entries.select_related("recalibration_before").first()
        if last is None:
            raise ConflictError(
                _("No recalibration of %(version)s was ever in force for %(tenant)s.")
                % {"version": version, "tenant": tenant}
            )
        before = recalibration_for(version, tenant.pk)
        return _put_into_force(tenant, version, before, last.recalibration_before, Decision(by, reason), undoes=last)


def _put_into_force(
    tenant: Tenant,
    version: ModelVersion,
    before: Recalibration | None,
    after: Recalibration | None,
    decision: Decision,
    *,
    undoes: Activation | None = None,
) -> Activation:
    pair: dict[str, Any] = {"for_tenant": tenant, "model_version": version}
    if after is None:
        AppliedRecalibration.objects.filter(**pair).delete()
    else:
        AppliedRecalibration.objects.update_or_create(**pair, defaults={"recalibration": after})
    return append_entry(
        Activation.Act.RECALIBRATED,
        tenant,
        version,
        version,
        decision,
        previews={str(tenant.pk): after.sha256} if after is not None and undoes is None else {},
        undoes=undoes,
        recalibration=after,
        recalibration_before=before,
    )

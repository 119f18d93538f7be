"""Telling what happened to a version, in the transaction in which it happened."""

from collections.abc import Iterable
from typing import Any

from django.db.models import Exists, OuterRef

from apps.core.queue import Bell, ring
from apps.registry.gates import failed, gates_of, is_open, platform_version
from apps.registry.models import (
    Activation,
    Evaluation,
    EvaluationSet,
    ModelEvent,
    ModelVersion,
    WebhookDelivery,
    WebhookEndpoint,
)
from apps.tenants.models import Tenant

Type = ModelEvent.Type
_OF_ACTS = {
    Activation.Act.ACTIVATED: Type.ACTIVATED,
    Activation.Act.ROLLED_BACK: Type.ROLLED_BACK,
    Activation.Act.UNPINNED: Type.UNPINNED,
    Activation.Act.RETIRED: Type.RETIRED,
}


def tell_registered(version: ModelVersion) -> None:
    _tell(Type.REGISTERED, version)


def tell_move(line: Activation) -> None:
    """A line of the ledger, without who and why: those are the platform's own, and may hold anything."""
    kind = _OF_ACTS.get(Activation.Act(line.act))
    if kind is not None:
        before = str(line.from_version) if line.from_version else None
        _tell(kind, line.to_version, tenant=line.for_tenant, line=line, from_version=before)


def settle(*, version: ModelVersion, films: EvaluationSet | None) -> None:
    """Say once that a version is verified, or that a gate of it failed, now that a measurement has ended.

    Where the version that serves the platform was measured, those that waited for it are settled.
    """
    concerned = [version]
    if films is not None and version == platform_version():
        concerned += _waiting_on(films, version)
    for each in concerned:
        _settle(each)


def _waiting_on(films: EvaluationSet, serving: ModelVersion) -> Iterable[ModelVersion]:
    verified = ModelEvent.objects.filter(model_version=OuterRef("pk"), type=Type.VERIFIED)
    measured = ModelVersion.objects.filter(retired=None, evaluations__evaluation_set=films).exclude(pk=serving.pk)
    return measured.exclude(Exists(verified)).distinct()


def _settle(version: ModelVersion) -> None:
    if not Evaluation.objects.filter(model_version=version).exists():
        return
    # Two measurements may end at once, and one of them speaks.
    ModelVersion.objects.select_for_update(no_key=True).get(pk=version.pk)
    gates = gates_of(version)
    kind = Type.VERIFIED if is_open(gates) else Type.GATE_FAILED if failed(gates) else None
    if kind and not ModelEvent.objects.filter(model_version=version, type=kind).exists():
        told = [
            {"set": str(each.evaluation_set), "state": each.state.value, "difference": each.difference,
             "ci95": list(each.ci95) if each.ci95 else None}
            for each in gates
        ]  # fmt: skip
        _tell(kind, version, gates=told)


def _tell(
    kind: str, version: ModelVersion, *, tenant: Tenant | None = None, line: Activation | None = None, **more: Any
) -> None:
    about = {
        "version": str(version),
        "sha256": version.sha256,
        "device_uid": version.device_uid,
        "scope": tenant.slug if tenant else "platform",
        "line": line.number if line else None,
    }
    event = ModelEvent.objects.create(
        type=kind, model_version=version, for_tenant=tenant, line=line, data={**about, **more}
    )
    wanted = [each for each in WebhookEndpoint.objects.filter(is_enabled=True) if kind in each.types]
    WebhookDelivery.objects.bulk_create([WebhookDelivery(endpoint=each, event=event) for each in wanted])
    if wanted:
        ring(Bell.DELIVER)

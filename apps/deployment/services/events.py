"""Events of ledger entries and of release gates, published in the transaction of the change."""

from collections.abc import Iterable

from django.db.models import Exists, OuterRef

from apps.deployment.models import Activation
from apps.deployment.release_gates import failed_gates, may_be_released, platform_version, release_gates_of
from apps.evaluation.models import Evaluation, EvaluationSet
from apps.events.models import ModelEvent
from apps.events.services import publish
from apps.registry.models import ModelVersion

Type = ModelEvent.Type
_OF_ACTS = {
    Activation.Act.ACTIVATED: Type.ACTIVATED,
    Activation.Act.ROLLED_BACK: Type.ROLLED_BACK,
    Activation.Act.UNPINNED: Type.UNPINNED,
    Activation.Act.RETIRED: Type.RETIRED,
}


def publish_entry(entry: Activation) -> None:
    """Publish a ledger entry without its person and reason, which may hold anything and stay on the platform."""
    kind = _OF_ACTS.get(Activation.Act(entry.act))
    if kind is not None:
        before = str(entry.from_version) if entry.from_version else None
        publish(
            kind=kind,
            version_id=entry.to_version_id,
            tenant=entry.for_tenant,
            entry_id=entry.pk,
            data={**entry.to_version.identity, "line": entry.number, "from_version": before},
        )


def publish_gate_outcome(*, version: ModelVersion, evaluation_set: EvaluationSet | None) -> None:
    """Publish, once for a version, that it is verified or that a release gate failed, after an evaluation ended.

    An evaluation of the platform's version decides the gates of all versions that waited for it.
    """
    concerned = [version]
    if evaluation_set is not None and version == platform_version():
        concerned += _waiting_for(evaluation_set, version)
    for each in concerned:
        _publish_once(each)


def _waiting_for(evaluation_set: EvaluationSet, serving: ModelVersion) -> Iterable[ModelVersion]:
    verified = ModelEvent.objects.filter(model_version_id=OuterRef("pk"), type=Type.VERIFIED)
    measured = ModelVersion.objects.filter(retired=None, evaluations__evaluation_set=evaluation_set).exclude(
        pk=serving.pk
    )
    return measured.exclude(Exists(verified)).distinct()


def _publish_once(version: ModelVersion) -> None:
    if not Evaluation.objects.filter(model_version=version).exists():
        return
    # Locked: two evaluations may end at the same moment, and only one may publish.
    ModelVersion.objects.select_for_update(no_key=True).get(pk=version.pk)
    gates = release_gates_of(version)
    kind = Type.VERIFIED if may_be_released(gates) else Type.GATE_FAILED if failed_gates(gates) else None
    if kind and not ModelEvent.objects.filter(model_version_id=version.pk, type=kind).exists():
        states = [
            {"set": str(each.evaluation_set), "state": each.state.value, "difference": each.difference,
             "ci95": list(each.ci95) if each.ci95 else None}
            for each in gates
        ]  # fmt: skip
        publish(kind=kind, version_id=version.pk, data={**version.identity, "gates": states})

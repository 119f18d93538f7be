"""What changes of the service and of the release gates publish, in the transaction in which they happen."""

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


def publish_entry(line: Activation) -> None:
    """A line of the ledger, without who and why: those are the platform's own, and may hold anything."""
    kind = _OF_ACTS.get(Activation.Act(line.act))
    if kind is not None:
        before = str(line.from_version) if line.from_version else None
        publish(
            kind=kind,
            version_id=line.to_version_id,
            tenant=line.for_tenant,
            line_id=line.pk,
            data={**line.to_version.identity, "line": line.number, "from_version": before},
        )


def publish_gate_outcome(*, version: ModelVersion, films: EvaluationSet | None) -> None:
    """Say once that a version is verified, or that a gate of it failed, now that a measurement has ended.

    Where the version that serves the platform was measured, those that waited for it are settled.
    """
    concerned = [version]
    if films is not None and version == platform_version():
        concerned += _waiting_on(films, version)
    for each in concerned:
        _publish_once(each)


def _waiting_on(films: EvaluationSet, serving: ModelVersion) -> Iterable[ModelVersion]:
    verified = ModelEvent.objects.filter(model_version_id=OuterRef("pk"), type=Type.VERIFIED)
    measured = ModelVersion.objects.filter(retired=None, evaluations__evaluation_set=films).exclude(pk=serving.pk)
    return measured.exclude(Exists(verified)).distinct()


def _publish_once(version: ModelVersion) -> None:
    if not Evaluation.objects.filter(model_version=version).exists():
        return
    # Two measurements may end at once, and one of them speaks.
    ModelVersion.objects.select_for_update(no_key=True).get(pk=version.pk)
    gates = release_gates_of(version)
    kind = Type.VERIFIED if may_be_released(gates) else Type.GATE_FAILED if failed_gates(gates) else None
    if kind and not ModelEvent.objects.filter(model_version_id=version.pk, type=kind).exists():
        told = [
            {"set": str(each.evaluation_set), "state": each.state.value, "difference": each.difference,
             "ci95": list(each.ci95) if each.ci95 else None}
            for each in gates
        ]  # fmt: skip
        publish(kind=kind, version_id=version.pk, data={**version.identity, "gates": told})

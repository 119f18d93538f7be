"""Which versions are measured when, so that the release gates have something to compare."""

from typing import Any

from django.dispatch import receiver

from apps.deployment.release_gates import platform_version
from apps.deployment.services.events import publish_gate_outcome
from apps.evaluation.models import Evaluation, EvaluationSet
from apps.evaluation.selectors import latest_evaluation
from apps.evaluation.services import request_measurements
from apps.evaluation.signals import evaluation_ended
from apps.registry.models import ModelVersion
from apps.registry.signals import version_registered


def request_evaluations(*, version: ModelVersion) -> int:
    """Have a version measured on every active set, and the one that serves the platform where it never was.

    Returns:
        How many measurements wait that did not before.
    """
    sets = list(EvaluationSet.objects.filter(is_active=True))
    serving = platform_version()
    wanted = [(each, version) for each in sets]
    if serving is not None and serving != version:
        known = set(serving.evaluations.values_list("evaluation_set_id", flat=True))
        known |= set(serving.evaluation_jobs.values_list("evaluation_set_id", flat=True))
        wanted += [(each, serving) for each in sets if each.pk not in known]
    return request_measurements(wanted)


@receiver(version_registered)
def measure_new_version(version: ModelVersion, **_: Any) -> None:
    request_evaluations(version=version)


@receiver(evaluation_ended)
def publish_gate_events(
    version: ModelVersion, evaluation_set: EvaluationSet | None, evaluation: Evaluation | None, **_: Any
) -> None:
    """See what a measurement means for the gates, once nothing is left to measure."""
    if evaluation is not None and evaluation_set is not None:
        _measure_serving_again(evaluation, evaluation_set)
    publish_gate_outcome(version=version, films=evaluation_set)


def _measure_serving_again(kept: Evaluation, films: EvaluationSet) -> None:
    """The set's films changed since the version in service was measured: without new figures there is no gate."""
    serving = platform_version()
    other = latest_evaluation(serving, films) if serving and serving != kept.model_version else None
    if serving and other and _films_of(other) != _films_of(kept):
        request_measurements([(films, serving)])


def _films_of(evaluation: Evaluation) -> str | None:
    """None where an earlier release wrote it, which did not say."""
    found: str | None = evaluation.report.get("bootstrap", {}).get("films_sha256")
    return found

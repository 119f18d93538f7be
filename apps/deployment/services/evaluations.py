"""Requests for the evaluations that the release gates need, and the events that follow from their results."""

from typing import Any

from django.dispatch import receiver

from apps.deployment.release_gates import platform_version
from apps.deployment.services.events import publish_gate_outcome
from apps.evaluation.models import Evaluation, EvaluationSet
from apps.evaluation.selectors import latest_evaluation
from apps.evaluation.services import request_evaluation_jobs
from apps.evaluation.signals import evaluation_ended
from apps.registry.models import ModelVersion
from apps.registry.signals import version_registered


def request_evaluations(*, version: ModelVersion) -> int:
    """Queue the evaluation of a version on every active set, and of the platform's version where it has none.

    Returns:
        The number of evaluation jobs that were added.
    """
    sets = list(EvaluationSet.objects.filter(is_active=True))
    serving = platform_version()
    pairs = [(each, version) for each in sets]
    if serving is not None and serving != version:
        known = set(serving.evaluations.values_list("evaluation_set_id", flat=True))
        known |= set(serving.evaluation_jobs.values_list("evaluation_set_id", flat=True))
        pairs += [(each, serving) for each in sets if each.pk not in known]
    return request_evaluation_jobs(pairs)


@receiver(version_registered)
def measure_new_version(version: ModelVersion, **_: Any) -> None:
    request_evaluations(version=version)


@receiver(evaluation_ended)
def publish_gate_events(
    version: ModelVersion, evaluation_set: EvaluationSet | None, evaluation: Evaluation | None, **_: Any
) -> None:
    """Publish what an ended evaluation means for the release gates."""
    if evaluation is not None and evaluation_set is not None:
        _evaluate_serving_again(evaluation, evaluation_set)
    publish_gate_outcome(version=version, evaluation_set=evaluation_set)


def _evaluate_serving_again(latest: Evaluation, evaluation_set: EvaluationSet) -> None:
    """Evaluate the platform's version again where the set's films have changed since; else they cannot be compared."""
    serving = platform_version()
    other = latest_evaluation(serving, evaluation_set) if serving and serving != latest.model_version else None
    if serving and other and _films_of(other) != _films_of(latest):
        request_evaluation_jobs([(evaluation_set, serving)])


def _films_of(evaluation: Evaluation) -> str | None:
    """The SHA-256 of the evaluated films; None in evaluations of an earlier release."""
    found: str | None = evaluation.report.get("bootstrap", {}).get("films_sha256")
    return found

"""Requests for the evaluations that the release gates need."""

from apps.deployment.release_gates import platform_version
from apps.evaluation.models import EvaluationSet
from apps.evaluation.services import request_evaluation_jobs
from apps.registry.models import ModelVersion


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

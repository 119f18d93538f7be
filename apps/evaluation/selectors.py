"""Reads of evaluations."""

from apps.evaluation.models import Evaluation, EvaluationSet
from apps.registry.models import ModelVersion


def latest_evaluation(version: ModelVersion, evaluation_set: EvaluationSet) -> Evaluation | None:
    """The newest evaluation of a version on a set; None where there is none."""
    return Evaluation.objects.filter(model_version=version, evaluation_set=evaluation_set).first()


def current_evaluations(version: ModelVersion) -> list[Evaluation]:
    """The newest evaluation of a version on each list of films, the largest list first, without sets that are off."""
    latest: dict[str, Evaluation] = {}
    # The reports are large, and most are not looked at.
    rows = Evaluation.objects.filter(model_version=version).exclude(evaluation_set__is_active=False)
    for each in rows.select_related("evaluation_set").defer("report_json"):
        latest.setdefault(each.split_sha256, each)
    return sorted(latest.values(), key=lambda each: -each.n)

"""Reads of evaluations."""

from apps.evaluation.models import Evaluation, EvaluationSet
from apps.registry.models import ModelVersion


def latest_evaluation(version: ModelVersion, evaluation_set: EvaluationSet) -> Evaluation | None:
    """The newest evaluation of a version on a set; None where there is none."""
    return Evaluation.objects.filter(model_version=version, evaluation_set=evaluation_set).first()

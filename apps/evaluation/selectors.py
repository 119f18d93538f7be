"""Reading evaluations."""

from apps.evaluation.models import Evaluation, EvaluationSet
from apps.registry.models import ModelVersion


def latest_evaluation(version: ModelVersion, evaluation_set: EvaluationSet) -> Evaluation | None:
    return Evaluation.objects.filter(model_version=version, evaluation_set=evaluation_set).first()

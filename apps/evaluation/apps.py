from django.apps import AppConfig


class EvaluationConfig(AppConfig):
    """Evaluation sets, evaluation jobs and evaluations of versions."""

    name = "apps.evaluation"
    label = "evaluation"

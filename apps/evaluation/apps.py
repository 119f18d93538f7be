from django.apps import AppConfig


class EvaluationConfig(AppConfig):
    """Lists of films that versions are measured on, and what was found."""

    name = "apps.evaluation"
    label = "evaluation"

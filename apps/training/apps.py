from django.apps import AppConfig


class TrainingAppConfig(AppConfig):
    """Training runs and their progress."""

    name = "apps.training"
    label = "training"

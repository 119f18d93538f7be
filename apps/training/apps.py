from django.apps import AppConfig


class TrainingConfig(AppConfig):
    """Training runs and their progress."""

    name = "apps.training"
    label = "training"

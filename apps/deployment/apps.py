from importlib import import_module

from django.apps import AppConfig


class DeploymentConfig(AppConfig):
    """Which version is in service for which tenant, with which operating points, and the ledger of every change."""

    name = "apps.deployment"
    label = "deployment"

    def ready(self) -> None:
        # Connects the receivers that react to registered versions and ended evaluations.
        import_module("apps.deployment.receivers")

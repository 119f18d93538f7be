from importlib import import_module

from django.apps import AppConfig


class DeploymentConfig(AppConfig):
    """Which version serves whom, by which operating points, and the ledger of every change."""

    name = "apps.deployment"
    label = "deployment"

    def ready(self) -> None:
        # Its receivers follow what is registered and measured.
        import_module("apps.deployment.services.evaluations")

from importlib import import_module

from django.apps import AppConfig


class CriticalConfig(AppConfig):
    """Notices of critical findings: who is notified, who acknowledged, and what happened in between."""

    name = "apps.critical"
    label = "critical"

    def ready(self) -> None:
        # Connects the receivers that react to rejected images, withdrawn studies and the dispatcher's sweeps.
        import_module("apps.critical.receivers")

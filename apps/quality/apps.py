from importlib import import_module

from django.apps import AppConfig


class QualityConfig(AppConfig):
    """What the readers' verdicts teach a tenant: counts per finding and version, discordances, dashboards."""

    name = "apps.quality"
    label = "quality"

    def ready(self) -> None:
        # Connects the receivers that react to signatures, rejected images and withdrawn studies.
        import_module("apps.quality.receivers")

from importlib import import_module

from django.apps import AppConfig


class DimseConfig(AppConfig):
    name = "apps.dimse"
    label = "dimse"

    def ready(self) -> None:
        # Reports that wait are watched by every process.
        import_module("apps.dimse.queue")

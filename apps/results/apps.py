from importlib import import_module

from django.apps import AppConfig


class ResultsConfig(AppConfig):
    """Results as DICOM objects for other systems."""

    name = "apps.results"
    label = "results"

    def ready(self) -> None:
        # Connects the receivers that create objects again after a signature and after a correction of the patient, and
        # registers the queue.
        import_module("apps.results.receivers")
        import_module("apps.results.queue")

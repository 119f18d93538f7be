from django.apps import AppConfig


class IngestConfig(AppConfig):
    """The one way in for an instance, and what keeps the stored objects whole."""

    name = "apps.ingest"
    label = "ingest"

from django.apps import AppConfig


class IngestConfig(AppConfig):
    """Storing of DICOM instances, and checks of the stored objects."""

    name = "apps.ingest"
    label = "ingest"

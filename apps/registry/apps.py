from django.apps import AppConfig


class RegistryConfig(AppConfig):
    """Model versions: their artifacts, import and registration."""

    name = "apps.registry"
    label = "registry"

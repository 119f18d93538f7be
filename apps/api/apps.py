from importlib import import_module

from django.apps import AppConfig


class ApiConfig(AppConfig):
    """The REST API."""

    name = "apps.api"
    label = "api"

    def ready(self) -> None:
        # Connects the receiver that deletes expired answers at the dispatcher's sweeps.
        import_module("apps.api.idempotency")

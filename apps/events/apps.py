from django.apps import AppConfig


class EventsConfig(AppConfig):
    """Events for other systems, and the webhooks that deliver them."""

    name = "apps.events"
    label = "events"

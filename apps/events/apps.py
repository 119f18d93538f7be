from django.apps import AppConfig


class EventsConfig(AppConfig):
    """What happened, for other systems to know, and the webhooks that carry it to them."""

    name = "apps.events"
    label = "events"

"""Model events, the webhook endpoints that subscribe to them, and the deliveries."""

from datetime import timedelta
from typing import Any, ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from apps.core.identifiers import uuid7
from apps.core.work_queue import JobState, RenamedStateField, Work
from apps.tenants.models import Tenant

# After a new secret was made, messages are signed with the old one as well for this long.
SECRETS_OVERLAP = timedelta(hours=24)


class ModelEvent(models.Model):
    """An event of a model version, written once, in the transaction of the change that it describes."""

    class Type(models.TextChoices):
        REGISTERED = "model.registered", "Registered"
        VERIFIED = "model.verified", "Verified"
        GATE_FAILED = "model.gate_failed", "Gate failed"
        ACTIVATED = "model.activated", "Put into service"
        ROLLED_BACK = "model.rolled_back", "Rolled back"
        UNPINNED = "model.unpinned", "Back to the platform's version"
        RETIRED = "model.retired", "Retired"
        DRIFT = "model.drift", "Drift alarm"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    type = models.CharField(max_length=40, choices=Type)
    # A plain id: this package may not import the packages that publish events.
    model_version_id = models.UUIDField(db_index=True, help_text="Of the version that it happened to.")
    for_tenant = models.ForeignKey(Tenant, null=True, on_delete=models.PROTECT, related_name="+")
    line_id = models.UUIDField(null=True, unique=True, help_text="Of the ledger entry, where there is one.")
    data = models.JSONField()
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        db_table = "registry_modelevent"
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["model_version_id", "type"],
                condition=Q(type__in=["model.registered", "model.verified", "model.gate_failed"]),
                name="registry_said_once",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.type}: {self.data['version']}"


class WebhookEndpoint(models.Model):
    """A URL that subscribes to events. Its secret is derived from its id and the number of the secret."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    url = models.CharField("address", max_length=2000)
    description = models.CharField(max_length=200, blank=True)
    is_enabled = models.BooleanField("enabled", default=True)
    types = models.JSONField("events", default=list)
    secret_number = models.PositiveIntegerField(default=1, editable=False)
    secret_made = models.DateTimeField(default=timezone.now, editable=False)
    disabled_because = models.CharField(max_length=300, blank=True, editable=False)
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "registry_webhookendpoint"
        ordering: ClassVar = ["created"]

    def __str__(self) -> str:
        return self.description or self.url

    @property
    def secret_names(self) -> list[str]:
        """The secrets that sign messages, newest first; for a while the former one is among them."""
        numbers = [self.secret_number]
        if self.secret_number > 1 and timezone.now() < self.secret_made + SECRETS_OVERLAP:
            numbers.append(self.secret_number - 1)
        return [f"{self.pk}:{number}" for number in numbers]


class WebhookDelivery(Work):
    """The delivery of one event to one endpoint. Without an event it is a ping.

    The attempts count since it was made or last sent again.
    """

    state = RenamedStateField(
        stored_as={JobState.QUEUED: "waiting", JobState.COMPLETE: "delivered", JobState.FAILED: "dead"}
    )
    attempts = models.PositiveIntegerField(default=0, db_column="failures")
    fence = models.BigIntegerField(default=0, db_column="attempts")
    run_after = models.DateTimeField(db_default=Now(), db_column="next_attempt")
    lease_until = models.DateTimeField(null=True, db_column="held_until")
    endpoint = models.ForeignKey(WebhookEndpoint, on_delete=models.PROTECT, related_name="deliveries")
    event = models.ForeignKey(ModelEvent, null=True, on_delete=models.PROTECT, related_name="deliveries")
    response_status = models.PositiveSmallIntegerField("last answer", null=True)

    class Meta(Work.Meta):
        db_table = "registry_webhookdelivery"
        verbose_name_plural = "webhook deliveries"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["endpoint", "event"], name="registry_one_delivery_of_an_event"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["run_after"], condition=Q(state=JobState.QUEUED), name="registry_deliveries_due"),
            models.Index(
                fields=["lease_until"], condition=Q(state=JobState.RUNNING), name="registry_deliveries_leased"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.message['type']} to {self.endpoint}"

    @property
    def message_id(self) -> str:
        """The message's id, the same for every attempt, so that a receiver can recognise a repeated one."""
        return str(self.event_id or self.pk)

    @property
    def message(self) -> dict[str, Any]:
        if self.event is None:
            return {"type": "ping", "timestamp": self.created.isoformat(), "data": {}}
        return {"type": self.event.type, "timestamp": self.event.at.isoformat(), "data": self.event.data}

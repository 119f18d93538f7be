"""Model events and the webhook endpoints of the platform; events of a tenant; the deliveries of both."""

from typing import Any, ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from apps.core.identifiers import uuid7
from apps.core.webhooks import names_of_secrets
from apps.core.work_queue import JobState, RenamedStateField, Work
from apps.routing.models import Destination
from apps.tenants.fields import TenantForeignKey
from apps.tenants.models import Tenant, TenantModel


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
        CRITICAL = "result.critical", "Critical finding"

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
    for_tenant = models.ForeignKey(
        Tenant,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        verbose_name="hospital",
        help_text="Only events of this hospital; empty: those of all. Critical findings go to a hospital's own only.",
    )
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
        """The secrets that sign messages, newest first."""
        return names_of_secrets(self.pk, self.secret_number, self.secret_made)


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


class TenantEvent(TenantModel):
    """An event at a tenant, written once, in the transaction of what happened. It holds ids, and no patient data.

    Only events that a webhook of the tenant wants are written.
    """

    class Type(models.TextChoices):
        STUDY_RECEIVED = "study.received", _("The first image of a study arrived")
        RESULT_READY = "result.ready", _("A reading ended with a result or a refusal")
        RESULT_FAILED = "result.failed", _("A reading failed at every attempt")
        CRITICAL = "result.critical", _("A reading flagged a critical finding")
        REPORT_SIGNED = "report.signed", _("A report was signed")
        REPORT_AMENDED = "report.amended", _("A signed report was amended or added to")
        MODEL_ACTIVATED = "model.activated", _("A model version went into service")

    type = models.CharField(max_length=40, choices=Type)
    # A plain id: this package may not import the packages that publish events.
    subject_id = models.UUIDField(help_text="Of the study, reading, notice, report or ledger entry that it is about.")
    data = models.JSONField()
    at = models.DateTimeField(default=timezone.now)

    class Meta(TenantModel.Meta):
        constraints: ClassVar = [
            *TenantModel.Meta.constraints,
            models.UniqueConstraint(fields=["tenant", "type", "subject_id"], name="events_event_once"),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.subject_id}"


class Delivery(TenantModel, Work):
    """One event or one result object on its way to a destination of its tenant. Without either it is a test.

    The attempts count since it was queued or last sent again.
    """

    destination = TenantForeignKey(Destination, on_delete=models.CASCADE, related_name="deliveries")
    event = TenantForeignKey(TenantEvent, null=True, on_delete=models.PROTECT, related_name="deliveries")
    # Plain ids: the packages of result objects and studies may import this one.
    object_id = models.UUIDField(null=True, help_text="Of the result object.")
    study_id = models.UUIDField(null=True, help_text="Of the study that it is about.")
    content = models.CharField(max_length=40, help_text="The kind of object, the type of the event, or test.")
    answer = models.CharField(max_length=20, blank=True, default="", help_text="The last status that was received.")

    class Meta(TenantModel.Meta):
        constraints: ClassVar = [
            *TenantModel.Meta.constraints,
            models.UniqueConstraint(fields=["tenant", "destination", "event"], name="events_delivery_of_event"),
            models.UniqueConstraint(fields=["tenant", "destination", "object_id"], name="events_delivery_of_object"),
            models.UniqueConstraint(
                fields=["tenant", "destination"],
                condition=Q(state=JobState.RUNNING),
                name="events_one_delivery_at_a_time",
            ),
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["-priority", "id"], condition=Q(state=JobState.QUEUED), name="events_delivery_waiting"
            ),
            models.Index(fields=["lease_until"], condition=Q(state=JobState.RUNNING), name="events_delivery_leased"),
            models.Index(fields=["tenant", "destination", "-id"], name="events_delivery_latest"),
            models.Index(
                fields=["tenant", "destination"],
                condition=~Q(state=JobState.COMPLETE),
                name="events_delivery_unfinished",
            ),
        ]

    def __str__(self) -> str:
        return f"Delivery {self.pk} {self.state}"

    @property
    def message_id(self) -> str:
        """The id of a webhook's message, the same for every attempt."""
        return str(self.event_id or self.pk)

    @property
    def message(self) -> dict[str, Any]:
        """What a webhook gets."""
        if self.event is None:
            return {"type": "ping", "timestamp": self.created.isoformat(), "data": {}}
        return {"type": self.event.type, "timestamp": self.event.at.isoformat(), "data": self.event.data}


class CommitmentRequest(TenantModel, Work):
    """The request to a DICOM destination to commit itself to keep one delivered instance (PS3.4 annex J).

    One row for each delivery; it begins anew when that is sent again. It is queued until it is asked, and again while a
    report is awaited, which may take until ``run_after``. It ends complete where the peer committed itself, rejected
    where it reported a failure, and failed where no report came.
    """

    delivery = TenantForeignKey(Delivery, on_delete=models.CASCADE, related_name="commitment_requests")
    destination = TenantForeignKey(Destination, on_delete=models.CASCADE, related_name="+")
    sop_class_uid = models.CharField(max_length=64)
    sop_instance_uid = models.CharField(max_length=64)
    transaction_uid = models.CharField(max_length=64, blank=True, default="", help_text="Of the latest request.")
    former_transaction_uid = models.CharField(
        max_length=64, blank=True, default="", help_text="Of the request before: a late report has it."
    )
    asked = models.DateTimeField(null=True, help_text="When the peer took the latest request.")
    times_asked = models.PositiveSmallIntegerField(default=0)

    class Meta(TenantModel.Meta):
        constraints: ClassVar = [
            *TenantModel.Meta.constraints,
            models.UniqueConstraint(fields=["tenant", "delivery"], name="events_commitment_of_delivery"),
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["-priority", "id"], condition=Q(state=JobState.QUEUED), name="events_commitment_waiting"
            ),
            models.Index(fields=["lease_until"], condition=Q(state=JobState.RUNNING), name="events_commitment_leased"),
            models.Index(fields=["tenant", "transaction_uid"], name="events_commitment_asked"),
            models.Index(fields=["tenant", "former_transaction_uid"], name="events_commitment_before"),
            models.Index(fields=["tenant", "destination"], name="events_commitment_at"),
        ]

    def __str__(self) -> str:
        return f"Commitment request {self.pk} {self.state}"

    @property
    def is_awaited(self) -> bool:
        """Whether the peer was asked, and has not reported yet."""
        return self.asked is not None and self.state in (JobState.QUEUED, JobState.RUNNING)

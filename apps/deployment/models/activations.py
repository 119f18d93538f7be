"""Deployments, operating points, offers, activation requests, and the ledger of every change.

These rows belong to the platform and name the tenant that they are *for*: a worker must see all deployments before any
tenant is in force. They record which version reads for a tenant, and nothing of what it read there.
"""

import json
from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _

from apps.core.identifiers import uuid7
from apps.registry.models import ModelVersion
from apps.tenants.models import PLATFORM, Tenant


class Deployment(models.Model):
    """The version in service: one row for the platform, and one for each tenant that is pinned."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    for_tenant = models.ForeignKey(
        Tenant,
        null=True,
        on_delete=models.PROTECT,
        related_name="+",
        db_index=False,
        help_text="Empty: every tenant that is not pinned.",
    )
    model_version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="+")
    since = models.DateTimeField(auto_now=True)

    class Meta:
        db_table = "registry_deployment"
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["for_tenant"], nulls_distinct=False, name="registry_one_deployment_for_each"
            )
        ]

    def __str__(self) -> str:
        return f"{self.for_tenant or PLATFORM}: {self.model_version}"


class OperatingPoint(models.Model):
    """The threshold that a tenant chose for one finding of one version, and how it was chosen.

    Where a tenant chose none for a finding, the version's own threshold applies.
    """

    class Strategy(models.TextChoices):
        YOUDEN = "youden", _("Largest sensitivity + specificity")
        SENSITIVITY = "sensitivity", _("Fixed sensitivity")
        SPECIFICITY = "specificity", _("Fixed specificity")
        ALERT_RATE = "alert_rate", _("Fixed share of studies flagged")
        ALARM_BUDGET = "alarm_budget", _("Fixed share of normal films flagged by any finding")
        MANUAL = "manual", _("Set by hand")

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    for_tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="+", db_index=False)
    model_version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="+")
    label = models.CharField(max_length=40)
    value = models.FloatField()
    strategy = models.CharField(max_length=20, choices=Strategy)
    target = models.FloatField(null=True, help_text="The sensitivity, specificity or share that was asked for.")
    reason = models.TextField(blank=True)
    actor = models.CharField(max_length=100)
    at = models.DateTimeField(auto_now=True)

    class Meta:
        db_table = "registry_operatingpoint"
        ordering: ClassVar = ["label"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["for_tenant", "model_version", "label"], name="registry_one_operating_point"
            ),
            models.CheckConstraint(
                condition=Q(value__gt=0.0, value__lt=1.0), name="registry_operating_point_is_a_probability"
            ),
            models.CheckConstraint(
                condition=~Q(strategy="manual") | ~Q(reason=""), name="registry_manual_operating_point_has_a_reason"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.label} of {self.model_version} for {self.for_tenant}: {self.value:.3f}"


class Offer(models.Model):
    """A version that a hospital may name in /predict and Quick check before it is in service there."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    model_version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="+")
    for_tenant = models.ForeignKey(
        Tenant, null=True, blank=True, on_delete=models.PROTECT, related_name="+", help_text="Empty: every tenant."
    )
    actor = models.CharField(max_length=100, editable=False)
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "registry_offer"
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["model_version", "for_tenant"], nulls_distinct=False, name="registry_one_offer_for_each"
            )
        ]

    def __str__(self) -> str:
        return f"{self.model_version} for {self.for_tenant or PLATFORM}"


class SwitchPreview(models.Model):
    """What a switch of versions would change on a tenant's recent studies, in counts; it names no study."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    for_tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="+")
    from_version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="+")
    to_version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="+")
    studies = models.PositiveIntegerField()
    # Text and not jsonb, which would reorder the keys: the ledger keeps the SHA-256 of this text.
    report_json = models.TextField()
    sha256 = models.CharField(max_length=64)
    actor = models.CharField(max_length=100)
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "registry_switchpreview"
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return f"{self.for_tenant}: {self.from_version} → {self.to_version} on {self.studies} studies"

    @cached_property
    def report(self) -> dict[str, Any]:
        return json.loads(self.report_json)


class ActivationRequest(models.Model):
    """An activation or a canary that waits for a second operator."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    for_tenant = models.ForeignKey(Tenant, null=True, on_delete=models.PROTECT, related_name="+")
    from_version = models.ForeignKey(ModelVersion, null=True, on_delete=models.PROTECT, related_name="+")
    to_version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="+")
    percent = models.PositiveSmallIntegerField(null=True, help_text="A canary's share; empty: the whole service.")
    keeps_points = models.BooleanField()
    despite_gate = models.BooleanField(default=False)
    why_no_preview = models.TextField(blank=True, default="", db_default="")
    by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    actor = models.CharField(max_length=100)
    reason = models.TextField(blank=True)
    at = models.DateTimeField(auto_now_add=True)
    line = models.OneToOneField(
        "deployment.Activation", null=True, on_delete=models.PROTECT, related_name="request", editable=False
    )
    withdrawn = models.DateTimeField(null=True)
    replaces = models.OneToOneField(
        "self", null=True, on_delete=models.PROTECT, related_name="replaced_by", editable=False
    )

    class Meta:
        db_table = "registry_activationrequest"
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        share = "" if self.percent is None else f" as canary, {self.percent} %,"
        return f"{self.to_version}{share} for {self.scope}"

    @property
    def scope(self) -> Any:
        return self.for_tenant or PLATFORM

    @property
    def is_open(self) -> bool:
        return self.line_id is None and self.withdrawn is None

    @property
    def closed_because(self) -> str:
        """Why a request is not open any more, as a message."""
        if self.line_id is not None:
            return "This request is confirmed already."
        later = getattr(self, "replaced_by", None)
        return f"This request was replaced by the one for {later}." if later else "This request is withdrawn already."

    @property
    def waiting_message(self) -> str:
        """The message that a new request waits, and which request it replaced."""
        replaced = f" It replaces the request for {self.replaces} of {self.replaces.who}." if self.replaces else ""
        return f"{self} waits for a second operator, who confirms it in the console.{replaced}"

    @property
    def who(self) -> Any:
        """The operator who requested it, or else the account on the machine."""
        return self.by or self.actor


class Activation(models.Model):
    """One entry of the ledger, written once: who put which version into service, for which tenant, and why.

    ``thresholds`` are in force after it, where no tenant has chosen others. ``points_before`` and ``points_after`` are
    what tenants had chosen, {tenant id: {label: point}}, for the version before and after it.
    """

    class Act(models.TextChoices):
        ACTIVATED = "activated", _("Put into service")
        ROLLED_BACK = "rolled-back", _("Rolled back")
        UNPINNED = "unpinned", _("Back to the platform's version")
        POINTS = "points", _("Operating points changed")
        RETIRED = "retired", _("Retired")
        SHADOW = "shadow", _("Shadow started")
        CANARY = "canary", _("Canary started or changed")
        CHALLENGE_ENDED = "challenge-ended", _("Challenger ended")
        RECALIBRATED = "recalibrated", _("Probabilities recalibrated")
        AI_STOPPED = "ai-stopped", _("AI stopped")
        AI_STARTED = "ai-started", _("AI started again")

    # Entries that change neither the version in service nor its operating points.
    TRIALS: ClassVar = (Act.SHADOW, Act.CANARY, Act.CHALLENGE_ENDED)
    ASIDE: ClassVar = (Act.RETIRED, *TRIALS, Act.RECALIBRATED, Act.AI_STOPPED, Act.AI_STARTED)
    LETS_READ: ClassVar = (Act.ACTIVATED, Act.ROLLED_BACK, Act.UNPINNED, Act.CANARY)

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    # Counted under the lock that every change takes: clocks of several machines could not order the entries.
    number = models.PositiveBigIntegerField(unique=True)
    act = models.CharField(max_length=20, choices=Act, default=Act.ACTIVATED)
    for_tenant = models.ForeignKey(Tenant, null=True, on_delete=models.PROTECT, related_name="+")
    from_version = models.ForeignKey(ModelVersion, null=True, on_delete=models.PROTECT, related_name="+")
    to_version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="+")
    thresholds = models.JSONField()
    points_before = models.JSONField(default=dict)
    points_after = models.JSONField(default=dict)
    previews = models.JSONField(default=dict, help_text="{tenant id: SHA-256} of the previews that were current.")
    why_no_preview = models.TextField(blank=True, default="", db_default="")
    percent = models.PositiveSmallIntegerField(null=True, help_text="A canary's share of the studies.")
    label = models.CharField(
        max_length=40, blank=True, default="", db_default="", help_text="The only finding of a stop."
    )
    # The floor checks and release gates that were overridden, with their state at that time.
    despite_gates = models.JSONField(default=list)
    undoes = models.ForeignKey(
        "self", null=True, on_delete=models.PROTECT, related_name="+", help_text="What a rollback took back."
    )
    own_before = models.BooleanField(null=True, help_text="Whether the tenant was pinned before.")
    change_plan = models.ForeignKey(
        "deployment.ChangePlan",
        null=True,
        on_delete=models.PROTECT,
        related_name="+",
        help_text="The plan under which it was made; empty before there were plans.",
    )
    recalibration = models.ForeignKey(
        "deployment.Recalibration",
        null=True,
        on_delete=models.PROTECT,
        related_name="entries",
        help_text="In force from this entry on; empty: the version's own probabilities.",
    )
    recalibration_before = models.ForeignKey(
        "deployment.Recalibration", null=True, on_delete=models.PROTECT, related_name="+"
    )
    by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    actor = models.CharField(max_length=100)
    second = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        on_delete=models.PROTECT,
        related_name="+",
        verbose_name="second approver",
    )
    reason = models.TextField(blank=True)
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "registry_activation"
        ordering: ClassVar = ["-number"]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M} {self.scope}: {self.from_version} → {self.to_version}"

    @property
    def scope(self) -> Any:
        return self.for_tenant or PLATFORM

    @property
    def who(self) -> Any:
        """The operator who made the change, or else the account on the machine."""
        return self.by or self.actor

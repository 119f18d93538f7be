"""Drift: what a version's outputs are compared with, and one week's figures for one tenant. Counts, and no study."""

from typing import Any, ClassVar

from django.db import models

from apps.core.identifiers import uuid7
from apps.registry.models import ModelVersion
from apps.tenants.models import Tenant


class DriftReference(models.Model):
    """The outputs that later weeks of a version are compared with; written once, and the newest one counts."""

    class Source(models.TextChoices):
        HELD_OUT = "held-out", "Films held out of the version's training"
        FIRST_WEEKS = "first-weeks", "First weeks at this hospital"
        ACCEPTED = "accepted", "Weeks that an administrator accepted"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    for_tenant = models.ForeignKey(
        Tenant, null=True, on_delete=models.PROTECT, related_name="+", help_text="Empty: for every tenant without one."
    )
    model_version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="+")
    source = models.CharField(max_length=20, choices=Source)
    films = models.PositiveIntegerField()
    first_week = models.DateField(null=True, help_text="The Monday of the first week that it is made of.")
    last_week = models.DateField(null=True)
    data = models.JSONField(help_text="As `ml.evaluation.drift.Readings.as_reference`.")
    reason = models.TextField(blank=True)
    actor = models.CharField(max_length=100)
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        weeks = f", {self.first_week} to {self.last_week}" if self.first_week else ""
        return f"{self.get_source_display()}{weeks}: {self.films} films"


class DriftWeek(models.Model):
    """One week of a version's readings at one tenant, counted once after the week has ended.

    Of each patient the last reading counts, because films of one patient are alike.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    for_tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="+")
    model_version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="+", db_index=False)
    week = models.DateField(help_text="Its Monday, UTC.")
    read = models.PositiveIntegerField()
    refused = models.PositiveIntegerField()
    views = models.JSONField(default=dict, help_text="{view position: films}")
    means = models.JSONField(default=dict, help_text="{label: mean of the version's own probability}")
    flagged = models.JSONField(default=dict, help_text="{label: share at the operating point of that time}")
    reference = models.ForeignKey(DriftReference, null=True, on_delete=models.PROTECT, related_name="+")
    figures = models.JSONField(default=list, help_text="What was compared with the reference, with p-values.")
    alarms = models.JSONField(default=list, help_text="The figures outside the control limits.")
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["-week"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["for_tenant", "model_version", "week"], name="deployment_one_drift_week")
        ]

    def __str__(self) -> str:
        return f"{self.week} {self.for_tenant}: {self.model_version}"

    @property
    def seen(self) -> int:
        return self.read + self.refused

    @property
    def refused_share(self) -> float | None:
        return self.refused / self.seen if self.seen else None

    @property
    def ap_share(self) -> float | None:
        known = self.views.get("AP", 0) + self.views.get("PA", 0)
        return self.views.get("AP", 0) / known if known else None

    @property
    def alarm_texts(self) -> list[str]:
        return [describe_alarm(each) for each in self.alarms]


def describe_alarm(figure: dict[str, Any]) -> str:
    """A figure outside the control limits, as text."""
    names = {
        "probability": f"{figure['label'].replace('_', ' ')}: mean probability",
        "flagged": f"{figure['label'].replace('_', ' ')}: share flagged",
        "refused": "Share of films refused",
        "AP view": "Share of AP films",
    }
    return f"{names[figure['what']]} {figure['value']:.3f}, expected {figure['expected']:.3f}"

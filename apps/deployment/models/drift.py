"""Drift: what a version's outputs are compared with, and one week's figures for one tenant. Counts, and no study."""

from typing import Any, ClassVar

from django.db import models
from django.utils.formats import date_format, number_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from apps.core.finding_names import finding_name
from apps.core.identifiers import uuid7
from apps.registry.models import ModelVersion
from apps.tenants.models import Tenant


class DriftReference(models.Model):
    """The outputs that later weeks of a version are compared with; written once, and the newest one counts."""

    class Source(models.TextChoices):
        HELD_OUT = "held-out", gettext_lazy("Films held out of the version's training")
        FIRST_WEEKS = "first-weeks", gettext_lazy("First weeks at this hospital")
        ACCEPTED = "accepted", gettext_lazy("Weeks that an administrator accepted")

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
        values = {"source": self.get_source_display(), "films": self.films}
        if self.first_week is None or self.last_week is None:
            return _("%(source)s: %(films)d films") % values
        values |= {"first": date_format(self.first_week), "last": date_format(self.last_week)}
        return _("%(source)s, %(first)s to %(last)s: %(films)d films") % values


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
    texts = {
        "probability": _("%(finding)s: mean probability %(value)s, expected %(expected)s"),
        "flagged": _("%(finding)s: share flagged %(value)s, expected %(expected)s"),
        "refused": _("Share of films refused %(value)s, expected %(expected)s"),
        "AP view": _("Share of AP films %(value)s, expected %(expected)s"),
    }
    return texts[figure["what"]] % {
        "finding": finding_name(figure["label"]),
        "value": number_format(round(figure["value"], 3), 3),
        "expected": number_format(round(figure["expected"], 3), 3),
    }

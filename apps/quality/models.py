"""What a signed report says of the AI's result: one counted row per finding, and the discordances to review."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from apps.registry.models import ModelVersion
from apps.reports.models import Report
from apps.studies.models import Study
from apps.tenants.fields import TenantForeignKey
from apps.tenants.models import TenantModel


class Outcome(models.TextChoices):
    """What the reader made of the AI's call on one finding; exactly one for each finding that counts."""

    AGREED = "agreed", _("Agreed")
    DISAGREED = "disagreed", _("Disagreed")
    CORRECTED = "corrected", _("Corrected")
    ADDED = "added", _("Added by the reader")


class CountedFinding(TenantModel):
    """One finding of the signed report in force of a study, as `apps.quality.outcomes` derives it.

    The rows of a study are replaced with each signature; a study that does not count has none.
    """

    study = TenantForeignKey(Study, on_delete=models.CASCADE, related_name="+")
    report = TenantForeignKey(Report, on_delete=models.CASCADE, related_name="+")
    model_version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="+", db_index=False)
    label = models.CharField(max_length=40)
    flagged = models.BooleanField(help_text="Whether the AI flagged it.")
    outcome = models.CharField(max_length=10, choices=Outcome)
    probability = models.FloatField(null=True, help_text="As the reader saw it; empty where the AI made no call.")
    signed_at = models.DateTimeField(help_text="Of the signed version that counts.")

    class Meta(TenantModel.Meta):
        constraints: ClassVar = [
            *TenantModel.Meta.constraints,
            models.UniqueConstraint(fields=["tenant", "study", "label"], name="quality_finding_counts_once"),
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["tenant", "model_version", "label", "flagged", "outcome"], name="quality_counted_by_label"
            ),
            models.Index(fields=["tenant", "signed_at"], name="quality_counted_by_time"),
        ]

    def __str__(self) -> str:
        return f"{self.label} {self.outcome}"


class Resolution(models.TextChoices):
    """What a second reader found when the signed report and the AI were compared."""

    AI_RIGHT = "ai-right", _("The AI was right: the report is to be amended")
    REPORT_RIGHT = "report-right", _("The report was right")
    UNCLEAR = "unclear", _("Unclear")


class Discordance(TenantModel):
    """One finding on which the signed report in force and the AI differ.

    A study has one of each label. It ends when the report in force and the AI agree, and opens again when they differ
    again. ``score`` orders what is reviewed first: `apps.quality.discordances` says how.
    """

    study = TenantForeignKey(Study, on_delete=models.CASCADE, related_name="discordances")
    report = TenantForeignKey(Report, on_delete=models.CASCADE, related_name="+", help_text="The version that differs.")
    label = models.CharField(max_length=40)
    flagged = models.BooleanField(help_text="Flagged by the AI and not in the report; otherwise the other way round.")
    probability = models.FloatField(help_text="Calibrated, as the reader saw it.")
    score = models.FloatField()
    day = models.DateField(help_text="Since when they differ, in the hospital's time zone: so many a day are listed.")
    ended_at = models.DateTimeField(null=True, help_text="Since when report and AI agree, or the study does not count.")
    resolution = models.CharField(max_length=12, choices=Resolution, blank=True)
    resolved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+", db_index=False
    )
    resolved_at = models.DateTimeField(null=True)

    class Meta(TenantModel.Meta):
        constraints: ClassVar = [
            *TenantModel.Meta.constraints,
            models.UniqueConstraint(fields=["tenant", "study", "label"], name="quality_one_discordance_of_label"),
            models.CheckConstraint(
                condition=Q(resolution="", resolved_by=None, resolved_at=None)
                | (~Q(resolution="") & Q(resolved_by__isnull=False, resolved_at__isnull=False)),
                name="quality_resolution_names_its_reader",
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["tenant", "-day", "-score"], name="quality_discordance_by_day"),
            models.Index(
                fields=["tenant", "-resolved_at"], condition=~Q(resolution=""), name="quality_discordance_resolved"
            ),
        ]

    def __str__(self) -> str:
        return f"Discordance {self.pk}"

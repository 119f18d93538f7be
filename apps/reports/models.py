"""Report, in the states of the FHIR DiagnosticReport, and what the reader said of each finding."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q

from apps.inference.models import Finding, InferenceJob
from apps.studies.models import Study
from apps.tenants.fields import TenantForeignKey
from apps.tenants.models import TenantModel


class ReportStatus(models.TextChoices):
    PRELIMINARY = "preliminary", "Preliminary"
    FINAL = "final", "Final"
    AMENDED = "amended", "Amended"


class Report(TenantModel):
    """What is said of a study. The PDF of a signed report is stored and never rendered again."""

    study = TenantForeignKey(Study, on_delete=models.CASCADE, related_name="reports")
    job = TenantForeignKey(InferenceJob, on_delete=models.PROTECT, related_name="reports")
    status = models.CharField(max_length=12, choices=ReportStatus, default=ReportStatus.PRELIMINARY)
    impression = models.TextField(blank=True)
    signed_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    signed_at = models.DateTimeField(null=True)
    pdf_sha256 = models.CharField(max_length=64, blank=True)
    printed = models.JSONField(
        null=True,
        help_text="The patient's identity and demographics as the signed PDF says them; null before a signature.",
    )
    created = models.DateTimeField(auto_now_add=True)

    class Meta(TenantModel.Meta):
        constraints: ClassVar = [
            *TenantModel.Meta.constraints,
            models.UniqueConstraint(fields=["tenant", "study"], name="reports_one_per_study"),
            models.CheckConstraint(
                condition=Q(status=ReportStatus.PRELIMINARY)
                | (Q(signed_by__isnull=False, signed_at__isnull=False) & ~Q(pdf_sha256="")),
                name="reports_signed_report_names_its_signer",
            ),
        ]

    def __str__(self) -> str:
        return f"Report {self.pk} {self.status}"


class Verdict(models.TextChoices):
    AGREE = "agree", "Agree"
    DISAGREE = "disagree", "Disagree"


class FindingReview(TenantModel):
    """A reader's verdict on one finding."""

    finding = TenantForeignKey(Finding, on_delete=models.CASCADE, related_name="reviews")
    verdict = models.CharField(max_length=10, choices=Verdict)
    reader = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    at = models.DateTimeField(auto_now=True)

    class Meta(TenantModel.Meta):
        constraints: ClassVar = [
            *TenantModel.Meta.constraints,
            models.UniqueConstraint(fields=["tenant", "finding"], name="reports_one_verdict_per_finding"),
        ]

    def __str__(self) -> str:
        return f"Review {self.pk} {self.verdict}"

"""Reports, with the states of the FHIR DiagnosticReport, and a reader's verdicts on findings."""

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


class ReportDraft(TenantModel):
    """The preliminary report on a study's latest result. Once a report is signed, it is the draft of an amendment."""

    study = TenantForeignKey(Study, on_delete=models.CASCADE, related_name="report_drafts")
    job = TenantForeignKey(InferenceJob, on_delete=models.PROTECT, related_name="report_drafts")
    created = models.DateTimeField(auto_now_add=True)

    class Meta(TenantModel.Meta):
        constraints: ClassVar = [
            *TenantModel.Meta.constraints,
            models.UniqueConstraint(fields=["tenant", "study"], name="reports_one_draft_per_study"),
        ]

    def __str__(self) -> str:
        return f"Draft {self.pk}"


class Report(TenantModel):
    """A signed version of a study's report: the first is final, each later one amends the one before.

    The row is written once. Its PDF is stored and never rendered again. Later facts, such as a newer version or new
    images, are derived and not stored here.
    """

    study = TenantForeignKey(Study, on_delete=models.CASCADE, related_name="reports")
    job = TenantForeignKey(InferenceJob, on_delete=models.PROTECT, related_name="reports")
    number = models.PositiveSmallIntegerField(default=1, help_text="1 for the original, and so on.")
    status = models.CharField(max_length=12, choices=ReportStatus, default=ReportStatus.FINAL)
    impression = models.TextField(blank=True)
    amends = TenantForeignKey("self", null=True, on_delete=models.PROTECT, related_name="+")
    reason = models.TextField(blank=True, help_text="Why the version before was amended.")
    image_count = models.PositiveIntegerField(default=0, help_text="Images that the study had at the signature.")
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
            models.UniqueConstraint(fields=["tenant", "study", "number"], name="reports_one_version_of_number"),
            models.CheckConstraint(
                condition=Q(signed_by__isnull=False, signed_at__isnull=False) & ~Q(pdf_sha256=""),
                name="reports_report_names_its_signer",
            ),
            models.CheckConstraint(
                condition=Q(status=ReportStatus.FINAL, number=1, amends__isnull=True)
                | (Q(status=ReportStatus.AMENDED, number__gt=1, amends__isnull=False) & ~Q(reason="")),
                name="reports_amendment_says_of_what_and_why",
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

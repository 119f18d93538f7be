"""Reports, with the states of the FHIR DiagnosticReport, and what readers say of findings."""

from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy

from apps.inference.models import Finding, InferenceJob
from apps.studies.models import Study
from apps.tenants.fields import TenantForeignKey
from apps.tenants.models import TenantModel


class ReportStatus(models.TextChoices):
    PRELIMINARY = "preliminary", gettext_lazy("Preliminary")
    FINAL = "final", gettext_lazy("Final")
    AMENDED = "amended", gettext_lazy("Amended")


class ReportDraft(TenantModel):
    """The preliminary report of a study. Once a report is signed, it is the draft of the next version.

    It begins with the AI's result, or with the first text that a reader saves, whichever comes first.
    """

    study = TenantForeignKey(Study, on_delete=models.CASCADE, related_name="report_drafts")
    job = TenantForeignKey(
        InferenceJob,
        null=True,
        on_delete=models.PROTECT,
        related_name="report_drafts",
        help_text="The reading that it is about; empty while there is none.",
    )
    impression = models.TextField(
        blank=True, default="", db_default="", help_text="The text that the readers saved last."
    )
    reason = models.TextField(
        blank=True, default="", db_default="", help_text="Why the signed version is amended, as far as it is written."
    )
    revision = models.PositiveIntegerField(default=0, db_default=0, help_text="How often the text was saved.")
    saved_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    saved_at = models.DateTimeField(null=True)
    created = models.DateTimeField(auto_now_add=True)

    class Meta(TenantModel.Meta):
        constraints: ClassVar = [
            *TenantModel.Meta.constraints,
            models.UniqueConstraint(fields=["tenant", "study"], name="reports_one_draft_per_study"),
        ]

    def __str__(self) -> str:
        return f"Draft {self.pk}"

    @property
    def is_stored(self) -> bool:
        return not self._state.adding


class AddendumDraft(TenantModel):
    """An addendum that a reader has not signed yet. Each reader has one of their own, which changes no report."""

    study = TenantForeignKey(Study, on_delete=models.CASCADE, related_name="addendum_drafts")
    saved_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    impression = models.TextField(blank=True, help_text="What the addendum adds.")
    reason = models.TextField(blank=True)
    revision = models.PositiveIntegerField(default=0, help_text="How often the text was saved.")
    saved_at = models.DateTimeField(null=True)

    class Meta(TenantModel.Meta):
        constraints: ClassVar = [
            *TenantModel.Meta.constraints,
            models.UniqueConstraint(fields=["tenant", "study", "saved_by"], name="reports_one_addendum_per_reader"),
        ]

    def __str__(self) -> str:
        return f"Draft of an addendum {self.pk}"


class Report(TenantModel):
    """A signed version of a study's report: the first is final, each later one amends the one before.

    The row is written once. Its PDF is stored and never rendered again. Later facts, such as a newer version or new
    images, are derived and not stored here. An addendum keeps the impression of the version before and adds a text.
    """

    study = TenantForeignKey(Study, on_delete=models.CASCADE, related_name="reports")
    job = TenantForeignKey(
        InferenceJob,
        null=True,
        on_delete=models.PROTECT,
        related_name="reports",
        help_text="The reading that it is about; empty where the study had none.",
    )
    number = models.PositiveSmallIntegerField(default=1, help_text="1 for the original, and so on.")
    status = models.CharField(max_length=12, choices=ReportStatus, default=ReportStatus.FINAL)
    impression = models.TextField(blank=True)
    amends = TenantForeignKey("self", null=True, on_delete=models.PROTECT, related_name="+")
    reason = models.TextField(blank=True, help_text="Why the version before was amended.")
    addendum = models.TextField(
        blank=True, default="", db_default="", help_text="What an addendum adds to the impression."
    )
    verdicts = models.JSONField(
        default=dict,
        db_default=models.Value({}, output_field=models.JSONField()),
        help_text="The verdicts at the signature, by label.",
    )
    reader_findings = models.JSONField(
        default=list,
        db_default=models.Value([], output_field=models.JSONField()),
        help_text="The findings that readers had added at the signature, as of `ReaderFinding.as_signed`.",
    )
    draft_revision = models.PositiveIntegerField(
        default=0, db_default=0, help_text="Where the next draft's revisions begin, so that a page from before is late."
    )
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
            models.CheckConstraint(
                condition=Q(addendum="") | Q(amends__isnull=False), name="reports_addendum_is_to_a_version"
            ),
        ]

    def __str__(self) -> str:
        return f"Report {self.pk} {self.status}"

    @property
    def is_addendum(self) -> bool:
        return bool(self.addendum)


class Verdict(models.TextChoices):
    AGREE = "agree", gettext_lazy("Agree")
    DISAGREE = "disagree", gettext_lazy("Disagree")


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


class ReaderFinding(TenantModel):
    """A finding that a reader added to the report that is being written; a signed version keeps a copy."""

    study = TenantForeignKey(Study, on_delete=models.CASCADE, related_name="reader_findings")
    name = models.CharField(max_length=100)
    label = models.CharField(max_length=40, blank=True, help_text="Where it is one of the findings of the models.")
    sop_instance_uid = models.CharField(max_length=64, blank=True, help_text="The image that shows it.")
    box = models.JSONField(null=True, help_text="x, y, width, height in pixels of the stored image.")
    reader = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    at = models.DateTimeField(auto_now_add=True)

    class Meta(TenantModel.Meta):
        constraints: ClassVar = [*TenantModel.Meta.constraints]
        ordering: ClassVar = ["id"]

    def __str__(self) -> str:
        return f"Reader's finding {self.pk}"

    @property
    def as_signed(self) -> dict[str, Any]:
        """The finding as a signed version keeps it, and as pages show it."""
        return {
            "id": str(self.pk),
            "name": self.name,
            "label": self.label,
            "sop_instance_uid": self.sop_instance_uid,
            "box": self.box,
        }


class BlindStep(TenantModel):
    """One step of a reader who reads without the AI first; each is taken once and never changes."""

    class Kind(models.TextChoices):
        COMMITTED = "committed", "Impression committed"
        REVEALED = "revealed", "Findings of the AI shown"

    study = TenantForeignKey(Study, on_delete=models.CASCADE, related_name="blind_steps")
    reader = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    kind = models.CharField(max_length=10, choices=Kind)
    impression = models.TextField(blank=True, help_text="The text that was committed.")
    at = models.DateTimeField(default=timezone.now)

    class Meta(TenantModel.Meta):
        constraints: ClassVar = [
            *TenantModel.Meta.constraints,
            models.UniqueConstraint(fields=["tenant", "study", "reader", "kind"], name="reports_each_blind_step_once"),
        ]

    def __str__(self) -> str:
        return f"Blind step {self.pk} {self.kind}"

"""Result objects: a reading or a signed report as DICOM objects, which other systems can store and show."""

from typing import ClassVar

from django.db import models
from django.db.models import Q

from apps.core.work_queue import JobState, Work
from apps.inference.models import InferenceJob
from apps.reports.models import Report
from apps.studies.models import Study, object_key
from apps.tenants.fields import TenantForeignKey
from apps.tenants.models import TenantModel


class ResultKind(models.TextChoices):
    SECONDARY_CAPTURE = "secondary-capture", "Secondary Capture"
    STRUCTURED_REPORT = "structured-report", "Structured Report"
    ENCAPSULATED_PDF = "encapsulated-pdf", "Encapsulated PDF"


class ResultPolicy(TenantModel):
    """Which kinds of objects a tenant wants. A tenant without a row wants none."""

    secondary_capture = models.BooleanField(default=False)
    structured_report = models.BooleanField(default=False)
    encapsulated_pdf = models.BooleanField(default=False)
    changed = models.DateTimeField(auto_now=True)

    class Meta(TenantModel.Meta):
        constraints: ClassVar = [
            *TenantModel.Meta.constraints,
            models.UniqueConstraint(fields=["tenant"], name="results_one_policy_per_tenant"),
        ]

    def __str__(self) -> str:
        return f"Result policy {self.pk}"

    @property
    def kinds(self) -> list[ResultKind]:
        wanted = (
            (ResultKind.SECONDARY_CAPTURE, self.secondary_capture),
            (ResultKind.STRUCTURED_REPORT, self.structured_report),
            (ResultKind.ENCAPSULATED_PDF, self.encapsulated_pdf),
        )
        return [kind for kind, is_wanted in wanted if is_wanted]


class ResultObject(TenantModel):
    """One stored DICOM object of a study's result. The row is written once.

    A reading has one series for each kind. A later object of a series has another content, for example after the
    signature, and replaces the one before it.
    """

    study = TenantForeignKey(Study, on_delete=models.CASCADE, related_name="result_objects")
    job = TenantForeignKey(InferenceJob, null=True, on_delete=models.CASCADE, related_name="+")
    report = TenantForeignKey(Report, null=True, on_delete=models.CASCADE, related_name="+")
    kind = models.CharField(max_length=20, choices=ResultKind)
    sop_class_uid = models.CharField(max_length=64)
    sop_instance_uid = models.CharField(max_length=64)
    series_instance_uid = models.CharField(max_length=64)
    number = models.PositiveSmallIntegerField(default=1, help_text="InstanceNumber: 1 for the first of its series.")
    content_key = models.CharField(max_length=64, help_text="A digest of what the object says; not of its bytes.")
    replaces = TenantForeignKey("self", null=True, on_delete=models.CASCADE, related_name="+")
    sha256 = models.CharField(max_length=64)
    size = models.PositiveBigIntegerField()
    created = models.DateTimeField(auto_now_add=True)

    class Meta(TenantModel.Meta):
        constraints: ClassVar = [
            *TenantModel.Meta.constraints,
            models.UniqueConstraint(fields=["tenant", "sop_instance_uid"], name="results_object_uid"),
        ]
        indexes: ClassVar = [models.Index(fields=["tenant", "study", "-id"], name="results_object_of_study")]

    def __str__(self) -> str:
        return f"Result object {self.pk} {self.kind}"

    @property
    def object_key(self) -> str:
        return object_key(self.tenant_id, self.sha256)


class ResultJob(TenantModel, Work):
    """The job that creates the objects that a study lacks. It reads what the study says when it runs."""

    study = TenantForeignKey(Study, on_delete=models.CASCADE, related_name="result_jobs")

    class Meta(TenantModel.Meta):
        constraints: ClassVar = [
            *TenantModel.Meta.constraints,
            models.CheckConstraint(
                condition=~Q(state__in=[JobState.FAILED, JobState.REJECTED]) | ~Q(reason=""),
                name="results_ended_job_has_a_reason",
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["-priority", "id"], condition=Q(state=JobState.QUEUED), name="results_job_waiting"),
            models.Index(fields=["lease_until"], condition=Q(state=JobState.RUNNING), name="results_job_leased"),
            models.Index(
                fields=["tenant", "-id"],
                condition=Q(state__in=[JobState.FAILED, JobState.REJECTED]),
                name="results_job_failed",
            ),
        ]

    def __str__(self) -> str:
        return f"Result job {self.pk} {self.state}"

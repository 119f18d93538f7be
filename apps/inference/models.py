"""InferenceJob: the reading of one study by one model version. The rows are the queue; a message only wakes a worker.

A ShadowReading is a challenger's reading of the same image. It has a table of its own, so that no page that shows jobs
and findings can show it.
"""

import datetime
from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils import timezone

from apps.core.identifiers import uuid7
from apps.core.work_queue import OPEN_STATES, JobState, Work
from apps.deployment.models import Challenger, Recalibration
from apps.inference.calls import AbnormalCall
from apps.registry.models import ModelVersion
from apps.studies.models import Instance, Study
from apps.tenants.fields import TenantForeignKey
from apps.tenants.models import TenantModel


class Priority(models.IntegerChoices):
    LOW = -1, "Low"
    ROUTINE = 0, "Routine"
    HIGH = 1, "High"
    STAT = 2, "STAT"


class QueuedReading(TenantModel, Work):
    """A row of work of one tenant. A failure leads back to the queue as `apps.core.retry` says."""

    attempts = models.PositiveSmallIntegerField(default=0, db_column="attempt")

    class Meta(TenantModel.Meta):
        abstract = True


class InferenceJob(QueuedReading):
    """The reading whose result users see."""

    study = TenantForeignKey(Study, on_delete=models.CASCADE, related_name="jobs")
    priority = models.SmallIntegerField(choices=Priority, default=Priority.ROUTINE, help_text="Higher goes first.")
    turn = models.BigIntegerField(default=0, help_text="Of equal priority, lower goes first (apps.inference.fairness).")
    model_version = models.ForeignKey(ModelVersion, null=True, on_delete=models.PROTECT, related_name="jobs")
    instance = TenantForeignKey(Instance, null=True, on_delete=models.SET_NULL, related_name="+")
    top_label = models.CharField(max_length=40, blank=True)
    top_probability = models.FloatField(null=True)
    positive_count = models.PositiveSmallIntegerField(default=0)
    abnormal_probability = models.FloatField(null=True, help_text="That the image has any finding, calibrated.")
    abnormal_threshold = models.FloatField(null=True)
    picture_rows = models.PositiveIntegerField(
        null=True, help_text="Rows of the picture that the maps lie on; empty in jobs from before images were turned."
    )
    picture_columns = models.PositiveIntegerField(null=True)
    recalibration = models.ForeignKey(
        Recalibration,
        null=True,
        on_delete=models.PROTECT,
        related_name="+",
        db_index=False,
        # A constraint would be checked against the whole table when it is added; recalibrations are never deleted.
        db_constraint=False,
        help_text="How the findings' probabilities and thresholds follow from the version's; empty: they are its own.",
    )
    warnings = models.JSONField(
        default=list,
        db_default=models.Value([], output_field=models.JSONField()),
        help_text="What is odd about the image that was read: code and detail.",
    )

    class Meta(QueuedReading.Meta):
        constraints: ClassVar = [
            *TenantModel.Meta.constraints,
            models.UniqueConstraint(
                fields=["tenant", "study"], condition=Q(state__in=OPEN_STATES), name="inference_one_open_job_per_study"
            ),
            models.CheckConstraint(
                condition=~Q(state__in=[JobState.FAILED, JobState.REJECTED]) | ~Q(reason_code=""),
                name="inference_refusal_has_a_reason",
            ),
            models.CheckConstraint(
                condition=~Q(state=JobState.RUNNING) | Q(lease_until__isnull=False, model_version__isnull=False),
                name="inference_running_job_has_a_lease",
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["tenant", "study", "-id"], name="inference_job_of_study"),
            models.Index(
                fields=["-priority", "turn", "id"], condition=Q(state=JobState.QUEUED), name="inference_job_waiting"
            ),
            models.Index(
                fields=["-priority", "turn", "id"],
                condition=Q(state=JobState.QUEUED, is_suspect=True),
                name="inference_job_suspect",
            ),
            models.Index(
                fields=["tenant", "priority", "-turn", "id"],
                condition=Q(state=JobState.QUEUED),
                name="inference_job_turns",
            ),
            models.Index(fields=["lease_until"], condition=Q(state=JobState.RUNNING), name="inference_job_leased"),
        ]

    def __str__(self) -> str:
        return f"Job {self.pk} {self.state}"

    @property
    def waits_for_images_until(self) -> datetime.datetime | None:
        """When its quiet time ends; None where it does not wait for more images of its study."""
        is_waiting = self.state == JobState.QUEUED and not self.attempts and not self.reason_code
        if not is_waiting or self.run_after is None or self.run_after <= timezone.now():
            return None
        return self.run_after

    @property
    def abnormal(self) -> AbnormalCall | None:
        """The study-level score; None where the version has none."""
        if self.abnormal_probability is None or self.abnormal_threshold is None:
            return None
        return AbnormalCall(self.abnormal_probability, self.abnormal_threshold)


class ServedTurn(models.Model):
    """The turn that is being served, by priority. It belongs to the platform and contains no data of a tenant."""

    priority = models.SmallIntegerField(primary_key=True)
    turn = models.BigIntegerField()

    def __str__(self) -> str:
        return f"{self.priority}: {self.turn}"


class Finding(TenantModel):
    """One pathology in a job's result: the calibrated probability, and the operating point that was applied."""

    job = TenantForeignKey(InferenceJob, on_delete=models.CASCADE, related_name="findings")
    label = models.CharField(max_length=40)
    probability = models.FloatField()
    threshold = models.FloatField(null=True, help_text="Empty: this version has no operating point for the label.")
    positive = models.BooleanField()
    uncertain = models.BooleanField(
        default=False, db_default=False, help_text="So near to the operating point that a small change may turn it."
    )

    class Meta(TenantModel.Meta):
        constraints: ClassVar = [
            *TenantModel.Meta.constraints,
            models.UniqueConstraint(fields=["tenant", "job", "label"], name="inference_one_finding_per_label"),
        ]
        # The label decides between equal ones: result objects of the same reading must be the same.
        ordering: ClassVar = ["-probability", "label"]

    def __str__(self) -> str:
        return f"Finding {self.pk}"


class HeatmapGrids(TenantModel):
    """The class activation maps of a job: little-endian half floats (labels, grid rows, grid columns), in logits.

    After the maps of the labels comes one more plane: the share of each cell inside the thorax, from 0 to 1. Jobs from
    before it was measured lack it.
    """

    job = TenantForeignKey(InferenceJob, on_delete=models.CASCADE, related_name="heatmaps")
    data = models.BinaryField()
    grid_rows = models.PositiveSmallIntegerField()
    grid_columns = models.PositiveSmallIntegerField()

    class Meta(TenantModel.Meta):
        constraints: ClassVar = [
            *TenantModel.Meta.constraints,
            models.UniqueConstraint(fields=["tenant", "job"], name="inference_one_set_of_heatmaps_per_job"),
        ]

    def __str__(self) -> str:
        return f"Heatmaps of {self.job_id}"


class ShadowReading(QueuedReading):
    """A challenger's reading of the image of a complete job, for comparison; no clinician sees it.

    ``probabilities`` are calibrated; ``thresholds`` are those that would have been applied in this tenant. Both are by
    label.
    """

    job = TenantForeignKey(InferenceJob, on_delete=models.CASCADE, related_name="+")
    challenger = models.ForeignKey(Challenger, on_delete=models.PROTECT, related_name="+")
    probabilities = models.JSONField(default=dict)
    thresholds = models.JSONField(default=dict)

    class Meta(QueuedReading.Meta):
        constraints: ClassVar = [
            *TenantModel.Meta.constraints,
            models.UniqueConstraint(fields=["tenant", "job", "challenger"], name="inference_one_shadow_of_job"),
            models.CheckConstraint(
                condition=~Q(state__in=[JobState.FAILED, JobState.REJECTED]) | ~Q(reason_code=""),
                name="inference_shadow_refusal_has_a_reason",
            ),
            models.CheckConstraint(
                condition=~Q(state=JobState.RUNNING) | Q(lease_until__isnull=False),
                name="inference_running_shadow_has_a_lease",
            ),
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["-priority", "id"], condition=Q(state=JobState.QUEUED), name="inference_shadow_in_order"
            ),
            # The release before claims by this one: drop it one release later.
            models.Index(fields=["id"], condition=Q(state=JobState.QUEUED), name="inference_shadow_waiting"),
            models.Index(fields=["lease_until"], condition=Q(state=JobState.RUNNING), name="inference_shadow_leased"),
            models.Index(fields=["tenant", "challenger", "-id"], name="inference_shadow_of_challenge"),
        ]

    def __str__(self) -> str:
        return f"Shadow reading {self.pk} {self.state}"


class Worker(models.Model):
    """The latest report of an inference worker. It belongs to the platform and names no tenant."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.CharField(max_length=100, unique=True)
    device = models.CharField(max_length=100, blank=True)
    model_version = models.ForeignKey(ModelVersion, null=True, on_delete=models.SET_NULL, related_name="+")
    versions = models.JSONField(default=list, help_text="Each version that it holds or wants, with its state.")
    error = models.TextField(blank=True)
    started = models.DateTimeField(auto_now_add=True)
    last_seen = models.DateTimeField()

    class Meta:
        ordering: ClassVar = ["-last_seen"]

    def __str__(self) -> str:
        return self.name

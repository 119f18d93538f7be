"""Training runs and their epochs."""

from datetime import timedelta
from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils import timezone

from apps.core.identifiers import uuid7
from apps.registry.models import ModelVersion

# A running command writes a heartbeat every few seconds. Without one for this long, it was killed or cut off.
LOST_AFTER = timedelta(seconds=60)


class TrainingRun(models.Model):
    """One training, from its command to its version. The progress that the chief reports is copied here."""

    class State(models.TextChoices):
        WAITING = "waiting", "Preparing"
        RUNNING = "running", "Running"
        COMPLETE = "complete", "Complete"
        FAILED = "failed", "Failed"
        STOPPED = "stopped", "Stopped"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.SlugField(max_length=100)
    architecture = models.CharField(max_length=100)
    state = models.CharField(max_length=10, choices=State, default=State.WAITING)
    settings = models.JSONField()
    # Runs of the same settings continue one another.
    settings_sha256 = models.CharField(max_length=64)
    folder = models.CharField(max_length=1000)
    nodes = models.CharField(max_length=20)
    world_size = models.PositiveIntegerField(null=True)
    backend = models.CharField(max_length=20, blank=True)
    device = models.CharField(max_length=20, blank=True)
    steps_per_epoch = models.PositiveIntegerField(null=True)
    global_batch = models.PositiveIntegerField(null=True)
    train_films = models.PositiveIntegerField(null=True)
    validation_films = models.PositiveIntegerField(null=True)
    restarts = models.PositiveIntegerField(default=0)
    forecast = models.JSONField(null=True)
    epochs = models.PositiveIntegerField()
    epoch = models.PositiveIntegerField(
        default=0, help_text="The last one that ended or, with a step, the one at work."
    )
    step = models.PositiveIntegerField(default=0)
    loss = models.FloatField(null=True)
    validation_auroc = models.FloatField(null=True)
    lr = models.FloatField(null=True)
    images_per_s = models.FloatField(null=True)
    data_wait = models.FloatField(null=True)
    selected_epoch = models.PositiveIntegerField(null=True)
    created = models.DateTimeField(auto_now_add=True)
    started = models.DateTimeField(null=True)
    heartbeat = models.DateTimeField()
    finished = models.DateTimeField(null=True)
    reason = models.TextField(blank=True)
    model_version = models.ForeignKey(ModelVersion, null=True, on_delete=models.PROTECT, related_name="training_runs")
    actor = models.CharField(max_length=100)

    class Meta:
        db_table = "registry_trainingrun"
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=~Q(state="failed") | ~Q(reason=""), name="registry_failed_training_has_a_reason"
            ),
            models.CheckConstraint(
                condition=~Q(state="complete") | Q(model_version__isnull=False),
                name="registry_complete_training_has_a_version",
            ),
        ]
        indexes: ClassVar = [models.Index(fields=["settings_sha256", "-id"], name="registry_run_of_settings")]

    def __str__(self) -> str:
        return f"{self.name}, {self.created:%Y-%m-%d %H:%M}"

    @property
    def is_open(self) -> bool:
        return self.state in (self.State.WAITING, self.State.RUNNING)

    @property
    def is_lost(self) -> bool:
        """Whether the run is open and its heartbeat is too old."""
        return self.is_open and self.heartbeat < timezone.now() - LOST_AFTER

    @property
    def progress(self) -> float:
        """Share of its steps that are done, 0 to 1."""
        if self.state == self.State.COMPLETE:
            return 1.0
        done = float(self.epoch)
        if self.step and self.steps_per_epoch:
            done += self.step / self.steps_per_epoch - 1
        return min(done / self.epochs, 1.0)

    @property
    def remaining(self) -> timedelta | None:
        """The time until the last step at the present speed; None where it is not known."""
        if not (self.is_open and self.images_per_s and self.steps_per_epoch and self.global_batch):
            return None
        films = (1.0 - self.progress) * self.epochs * self.steps_per_epoch * self.global_batch
        return timedelta(seconds=round(films / self.images_per_s))


class TrainingEpoch(models.Model):
    """One epoch of a run, with its figures."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    run = models.ForeignKey(TrainingRun, on_delete=models.CASCADE, related_name="epoch_rows")
    epoch = models.PositiveIntegerField()
    loss = models.FloatField(null=True)
    validation_auroc = models.FloatField(null=True)
    lr = models.FloatField(null=True)
    images_per_s = models.FloatField(null=True)
    seconds = models.FloatField(null=True)
    data_wait = models.FloatField(null=True)
    ranks = models.JSONField(default=list)

    class Meta:
        db_table = "registry_trainingepoch"
        ordering: ClassVar = ["run", "epoch"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["run", "epoch"], name="registry_one_row_per_epoch"),
        ]

    def __str__(self) -> str:
        return f"{self.run_id} epoch {self.epoch}"

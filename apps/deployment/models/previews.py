"""Preview jobs: previews of a switch that an operator requested."""

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from apps.core.work_queue import OPEN_STATES, JobState, RenamedStateField, Work
from apps.deployment.models.activations import SwitchPreview
from apps.registry.models import ModelVersion
from apps.tenants.models import Tenant


class PreviewJob(Work):
    """The job that previews what a version would change for one tenant."""

    MOST = 5000

    state = RenamedStateField(stored_as={JobState.QUEUED: "waiting", JobState.REJECTED: "refused"})
    run_after = models.DateTimeField(db_default=Now(), db_column="not_before")
    lease_until = models.DateTimeField(null=True, db_column="lease_expires")
    for_tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="+")
    model_version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="preview_jobs")
    last = models.PositiveIntegerField("studies")
    actor = models.CharField(max_length=100)
    done = models.PositiveIntegerField(default=0)
    of = models.PositiveIntegerField(default=0)
    preview = models.OneToOneField(SwitchPreview, null=True, on_delete=models.PROTECT, related_name="job")

    class Meta(Work.Meta):
        db_table = "registry_previewjob"
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["for_tenant", "model_version"],
                condition=Q(state__in=OPEN_STATES),
                name="registry_one_open_preview",
            ),
            models.CheckConstraint(
                condition=~Q(state=JobState.COMPLETE) | Q(preview__isnull=False),
                name="registry_complete_preview_has_counts",
            ),
            models.CheckConstraint(
                condition=~Q(state__in=[JobState.REJECTED, JobState.FAILED]) | ~Q(reason=""),
                name="registry_ended_preview_has_a_reason",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.model_version} for {self.for_tenant}"

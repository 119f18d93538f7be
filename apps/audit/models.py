"""The audit trail: who did what to which object, written once."""

from typing import ClassVar

from django.conf import settings
from django.db import models

from apps.tenants.models import TenantModel


class AuditEvent(TenantModel):
    """One act on a tenant's data. It names rows by their keys; it holds no patient data."""

    class Action(models.TextChoices):
        INSTANCE_STORED = "instance.stored", "Instance stored"
        STUDY_VIEWED = "study.viewed", "Study viewed"
        REPORT_READ = "report.read", "Report read"
        FINDING_REVIEWED = "finding.reviewed", "Finding reviewed"
        REPORT_SIGNED = "report.signed", "Report signed"
        IMAGES_PREDICTED = "images.predicted", "Images read and not stored"
        POINTS_CHANGED = "operating-points.changed", "Operating points changed"
        MODEL_ACTIVATED = "model.activated", "Model version put into service"
        MODEL_ROLLED_BACK = "model.rolled_back", "Model version rolled back"
        MODEL_UNPINNED = "model.unpinned", "Back to the platform's model version"
        MODEL_CANARY = "model.canary", "Canary started or changed"
        MODEL_SHADOW = "model.shadow", "Shadow started"
        MODEL_CHALLENGE_ENDED = "model.challenge_ended", "Canary or shadow ended"
        USER_SIGNED_IN = "user.signed-in", "User signed in"
        PEER_ADDED = "peer.added", "DICOM peer added"
        PEER_CHANGED = "peer.changed", "DICOM peer changed"
        PEER_REMOVED = "peer.removed", "DICOM peer removed"
        PEER_REFUSED = "peer.refused", "DICOM association refused"

    at = models.DateTimeField(auto_now_add=True)
    action = models.CharField(max_length=40, choices=Action)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    actor = models.CharField(max_length=100, help_text="User, API client or peer, by its name.")
    object_id = models.UUIDField(null=True)
    amount = models.PositiveIntegerField(default=1, db_default=1, help_text="How many objects the act was about.")

    class Meta(TenantModel.Meta):
        indexes: ClassVar = [models.Index(fields=["tenant", "-at"], name="audit_event_latest")]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M:%S} {self.action}"

"""Model versions, the pointer to the one in service, and the ledger of its moves. They belong to the platform."""

from typing import Any, ClassVar

from django.conf import settings
from django.db import models

from apps.core.identifiers import uuid7


class ModelVersion(models.Model):
    """One immutable artifact: safetensors and its manifest, known by the SHA-256 over both."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.SlugField(max_length=100)
    number = models.PositiveIntegerField()
    sha256 = models.CharField(max_length=64, unique=True)
    manifest = models.JSONField()
    # IHE AIR 6.5.3.1: the device that made a result has a UID that changes whenever the model changes.
    device_uid = models.CharField(max_length=64, unique=True)
    registered = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["name", "number"], name="registry_modelversion_name_number")
        ]
        ordering: ClassVar = ["name", "-number"]

    def __str__(self) -> str:
        return f"{self.name}:{self.number}"

    @property
    def architecture(self) -> str:
        return self.manifest["architecture"]

    @property
    def thresholds(self) -> dict[str, dict[str, Any] | None]:
        return self.manifest["thresholds"]

    @property
    def is_calibrated(self) -> bool:
        """Whether films were there to calibrate on; an imported version's probabilities may be the plain sigmoid."""
        return any((fit["a"], fit["b"]) != (1.0, 0.0) for fit in self.manifest["calibration"].values())

    @property
    def object_prefix(self) -> str:
        return f"models/{self.sha256}"


class Deployment(models.Model):
    """The movable pointer to the version in service."""

    class Slot(models.TextChoices):
        PLATFORM = "platform", "Whole platform"

    slot = models.CharField(primary_key=True, max_length=20, choices=Slot, default=Slot.PLATFORM)
    model_version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="+")
    since = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return f"{self.slot}: {self.model_version}"


class Activation(models.Model):
    """One move of a pointer, written once: who put which version into service, with which operating points, and why."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    slot = models.CharField(max_length=20, choices=Deployment.Slot)
    from_version = models.ForeignKey(ModelVersion, null=True, on_delete=models.PROTECT, related_name="+")
    to_version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="+")
    thresholds = models.JSONField()
    is_rollback = models.BooleanField(default=False)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    actor = models.CharField(max_length=100)
    reason = models.TextField(blank=True)
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M} {self.from_version} → {self.to_version}"

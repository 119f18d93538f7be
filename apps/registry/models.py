"""Model versions: immutable artifacts that were registered."""

from typing import Any, ClassVar

from django.db import models

from apps.core.identifiers import uuid7
from apps.registry import engine


class ModelVersion(models.Model):
    """One immutable artifact: safetensors and its manifest, identified by the SHA-256 over both."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.SlugField(max_length=100)
    number = models.PositiveIntegerField()
    sha256 = models.CharField(max_length=64, unique=True)
    manifest = models.JSONField()
    # IHE AIR 6.5.3.1: the device that made a result has a UID that changes whenever the model changes.
    device_uid = models.CharField(max_length=64, unique=True)
    registered = models.DateTimeField(auto_now_add=True)
    retired = models.DateTimeField(null=True, editable=False)
    localised = models.JSONField(
        default=list,
        db_default=models.Value([], output_field=models.JSONField()),
        editable=False,
        help_text="The findings whose maps were measured to show where the finding is.",
    )

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
    def data(self) -> dict[str, Any]:
        """The training data as the manifest describes it, without the patients' hashes that only evaluations need."""
        return {name: value for name, value in self.manifest["data"].items() if name != engine.SEEN_PATIENTS}

    @property
    def is_calibrated(self) -> bool:
        """Whether the version was calibrated; an imported version's probabilities may be the plain sigmoid."""
        return any((fit["a"], fit["b"]) != (1.0, 0.0) for fit in self.manifest["calibration"].values())

    @property
    def margins(self) -> dict[str, float] | None:
        """By label, the half width of the band around the operating point in which a call is uncertain."""
        return self.manifest.get("margins")

    @property
    def abnormal_score(self) -> "engine.AbnormalScore | None":
        """The study-level score, where the version has one."""
        stored = self.manifest.get("abnormal")
        return engine.AbnormalScore(**stored) if stored else None

    @property
    def identity(self) -> dict[str, str]:
        """The version's identifiers for other systems."""
        return {"version": str(self), "sha256": self.sha256, "device_uid": self.device_uid}

    @property
    def object_prefix(self) -> str:
        return f"models/{self.sha256}"

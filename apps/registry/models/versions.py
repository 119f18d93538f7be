"""Versions, and what was measured of them."""

import json
from typing import Any, ClassVar

from django.db import models
from django.utils.functional import cached_property

from apps.core.identifiers import uuid7
from apps.registry import engine


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
    retired = models.DateTimeField(null=True, editable=False)

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
        """What it was made from, without the fingerprint of the patients: that is for evaluations only."""
        return {name: value for name, value in self.manifest["data"].items() if name != engine.SEEN_PATIENTS}

    @property
    def is_calibrated(self) -> bool:
        """Whether films were there to calibrate on; an imported version's probabilities may be the plain sigmoid."""
        return any((fit["a"], fit["b"]) != (1.0, 0.0) for fit in self.manifest["calibration"].values())

    @property
    def object_prefix(self) -> str:
        return f"models/{self.sha256}"


class Evaluation(models.Model):
    """One measurement of a version on a named list of films, written once."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    model_version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="evaluations")
    evaluation_set = models.ForeignKey(
        "registry.EvaluationSet", null=True, on_delete=models.PROTECT, related_name="evaluations"
    )
    split_id = models.CharField(max_length=200)
    split_sha256 = models.CharField(max_length=64)
    n = models.PositiveIntegerField()
    patients = models.PositiveIntegerField()
    mean_auroc = models.FloatField(null=True)
    # As text: a jsonb column would forget the order of labels and groups.
    report_json = models.TextField()
    actor = models.CharField(max_length=100)
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["-id"]

    @cached_property
    def report(self) -> dict[str, Any]:
        return json.loads(self.report_json)

    def __str__(self) -> str:
        return f"{self.model_version} on {self.split_id}, {self.at:%Y-%m-%d %H:%M}"

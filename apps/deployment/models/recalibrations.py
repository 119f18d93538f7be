"""Recalibrations: how one tenant's probabilities follow from those of a version."""

import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from apps.core.identifiers import uuid7
from apps.registry import engine
from apps.registry.models import ModelVersion
from apps.tenants.models import Tenant


class Recalibration(models.Model):
    """A slope and an offset for each finding, on the logit of the version's calibrated probability; written once.

    Operating points and operating curves stay on the version's own scale. A result is flagged there, and its
    probability and its threshold are then moved by the same numbers, so a recalibration flags nothing else.
    """

    class Method(models.TextChoices):
        PREVALENCE = "prevalence", _("Declared prevalence")
        VERDICTS = "verdicts", _("Readers' verdicts")
        OWN = "own", _("The version's own probabilities")

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    number = models.PositiveIntegerField(help_text="Counted for each tenant and version.")
    for_tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="+")
    model_version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="+")
    method = models.CharField(max_length=20, choices=Method)
    fits = models.JSONField(default=dict, help_text="{label: {a: slope, b: offset}}; a label without keeps its own.")
    evidence = models.JSONField(default=dict, help_text="What each label's fit rests on, or why it has none.")
    replaces = models.ForeignKey(
        "self", null=True, on_delete=models.PROTECT, related_name="+", help_text="In force when this was previewed."
    )
    # Text and not jsonb, which would reorder the keys: the ledger keeps the SHA-256 of this text.
    preview_json = models.TextField()
    sha256 = models.CharField(max_length=64)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    actor = models.CharField(max_length=100)
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["for_tenant", "model_version", "number"], name="deployment_one_recalibration_of_number"
            )
        ]

    def __str__(self) -> str:
        return f"Recalibration {self.number} of {self.model_version}: {self.get_method_display().lower()}"

    @cached_property
    def preview(self) -> dict[str, Any]:
        return json.loads(self.preview_json)

    def shown(self, label: str, value: float) -> float:
        """A probability or a threshold of the version, 0 to 1, on the tenant's scale."""
        fit = self.fits.get(label)
        return engine.remap(value, engine.Platt(**fit)) if fit else value

    def of_version(self, label: str, value: float) -> float:
        """A probability or a threshold on the tenant's scale, back on the version's own."""
        fit = self.fits.get(label)
        return engine.unmap(value, engine.Platt(**fit)) if fit else value

    def calibration(self, own: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
        """The version's Platt parameters {label: {a, b}} with this recalibration after them."""
        return {
            label: {"a": fit["a"] * after["a"], "b": fit["b"] * after["a"] + after["b"]}
            if (after := self.fits.get(label))
            else dict(fit)
            for label, fit in own.items()
        }


class AppliedRecalibration(models.Model):
    """The recalibration in force for one tenant and version; without a row the version's own probabilities apply."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    for_tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="+", db_index=False)
    model_version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="+")
    recalibration = models.ForeignKey(Recalibration, on_delete=models.PROTECT, related_name="+")
    since = models.DateTimeField(auto_now=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["for_tenant", "model_version"], name="deployment_one_recalibration_in_force"
            )
        ]

    def __str__(self) -> str:
        return f"{self.for_tenant}: {self.recalibration}"

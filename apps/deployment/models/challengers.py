"""Challengers: versions on trial beside the version in service."""

import hashlib
from typing import Any, ClassVar
from uuid import UUID

from django.db import models
from django.db.models import Q

from apps.core.identifiers import uuid7
from apps.registry.models import ModelVersion
from apps.tenants.models import PLATFORM, Tenant


class Challenger(models.Model):
    """A version on trial: for all tenants that have no version of their own, or for one tenant.

    A shadow reads the same studies once more, and no clinician sees its results. A canary reads a share of the studies
    in place of the version in service. The trial compares it with that version, so it ends when another one serves.
    """

    class Mode(models.TextChoices):
        SHADOW = "shadow", "Shadow"
        CANARY = "canary", "Canary"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    for_tenant = models.ForeignKey(Tenant, null=True, on_delete=models.PROTECT, related_name="+", db_index=False)
    model_version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="+")
    against = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="+")
    mode = models.CharField(max_length=10, choices=Mode)
    percent = models.PositiveSmallIntegerField(null=True, help_text="The share of studies that a canary reads.")
    keeps_points = models.BooleanField()
    since = models.DateTimeField(auto_now_add=True)
    actor = models.CharField(max_length=100)
    reason = models.TextField(blank=True)
    ended = models.DateTimeField(null=True)

    class Meta:
        db_table = "registry_challenger"
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["for_tenant"],
                condition=Q(ended=None),
                nulls_distinct=False,
                name="registry_one_challenger_for_each",
            ),
            models.CheckConstraint(
                condition=Q(mode="shadow", percent=None) | Q(mode="canary", percent__gte=1, percent__lte=99),
                name="registry_canary_has_a_share",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.model_version} as {self.how} for {self.scope}"

    @property
    def scope(self) -> Any:
        return self.for_tenant or PLATFORM

    @property
    def how(self) -> str:
        return "shadow" if self.mode == self.Mode.SHADOW else f"canary, {self.percent} %"


def canary_reads(challenger_id: UUID, percent: int, study_id: UUID) -> bool:
    """Whether a canary reads a study.

    The same challenger and study always give the same answer, and a larger share only adds studies.
    """
    digest = hashlib.sha256(challenger_id.bytes + study_id.bytes).digest()
    return int.from_bytes(digest[:8]) * 100 < percent << 64

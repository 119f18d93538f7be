"""What is in service for whom, and the ledger of every move.

These rows belong to the platform and name the tenant that they are *for*: whoever hands out work must see all pointers
before any tenant is in force. They tell which version reads for a hospital, and nothing of what it read there.
"""

from typing import Any, ClassVar

from django.conf import settings
from django.db import models

from apps.core.identifiers import uuid7
from apps.registry.models.versions import ModelVersion
from apps.tenants.models import Tenant

PLATFORM = "whole platform"


class Deployment(models.Model):
    """A movable pointer to the version in service: one for the platform, and one for each tenant that is pinned."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    for_tenant = models.ForeignKey(
        Tenant,
        null=True,
        on_delete=models.PROTECT,
        related_name="+",
        db_index=False,
        help_text="Empty: every tenant that has no pointer of its own.",
    )
    model_version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="+")
    since = models.DateTimeField(auto_now=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["for_tenant"], nulls_distinct=False, name="registry_one_deployment_for_each"
            )
        ]

    def __str__(self) -> str:
        return f"{self.for_tenant or PLATFORM}: {self.model_version}"


class Activation(models.Model):
    """One line of the ledger, written once: who put which version into service for whom, and why.

    ``thresholds`` are the operating points in force after the move.
    """

    class Act(models.TextChoices):
        ACTIVATED = "activated", "Put into service"
        ROLLED_BACK = "rolled-back", "Rolled back"
        UNPINNED = "unpinned", "Back to the platform's version"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    # Counted under the lock that every move takes: the clocks of several machines could not order the lines.
    number = models.PositiveBigIntegerField(unique=True)
    act = models.CharField(max_length=20, choices=Act, default=Act.ACTIVATED)
    for_tenant = models.ForeignKey(Tenant, null=True, on_delete=models.PROTECT, related_name="+")
    from_version = models.ForeignKey(ModelVersion, null=True, on_delete=models.PROTECT, related_name="+")
    to_version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="+")
    thresholds = models.JSONField()
    by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    actor = models.CharField(max_length=100)
    reason = models.TextField(blank=True)
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["-number"]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M} {self.scope}: {self.from_version} → {self.to_version}"

    @property
    def scope(self) -> Any:
        return self.for_tenant or PLATFORM

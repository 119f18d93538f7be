"""Where the AI is stopped: for a tenant, or for one label of it."""

from typing import ClassVar

from django.db import models

from apps.core.identifiers import uuid7
from apps.tenants.models import Tenant


class AiStop(models.Model):
    """A stop in force; it is deleted when the AI is started again, and the ledger keeps both.

    It changes neither the version in service nor the operating points, so a rollback does not touch it.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    for_tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="+", db_index=False)
    label = models.CharField(max_length=40, blank=True, help_text="Empty: the whole AI.")
    since = models.DateTimeField(auto_now_add=True)
    actor = models.CharField(max_length=100)
    reason = models.TextField()

    class Meta:
        verbose_name = "AI stop"
        ordering: ClassVar = ["label"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["for_tenant", "label"], name="deployment_one_stop_of_each"),
        ]

    def __str__(self) -> str:
        return f"{self.for_tenant}: {self.label or 'the whole AI'}"

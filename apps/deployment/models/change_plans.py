"""The change plan: which changes of the model are allowed, how they are tested, and how they are taken back."""

from typing import ClassVar

from django.conf import settings
from django.db import models

from apps.core.identifiers import uuid7


class ChangePlan(models.Model):
    """One version of the plan, written once; every ledger entry cites the one that was in force.

    The parts are those of a predetermined change control plan (FDA, Marketing Submission Recommendations for a PCCP).
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    number = models.PositiveIntegerField(unique=True, editable=False)
    allowed_changes = models.TextField(help_text="Which changes may be made without a new plan, and which may not.")
    protocol = models.TextField(help_text="How each change is made and tested: data, measurements, who decides.")
    acceptance_limits = models.TextField(help_text="The figures that a change must reach.")
    impact = models.TextField("impact assessment", help_text="The risks of the changes, and what limits them.")
    rollback = models.TextField(help_text="When and how a change is taken back.")
    reason = models.TextField("what changed", help_text="Why this version replaces the one before.")
    by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+", editable=False
    )
    actor = models.CharField(max_length=100, editable=False)
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["-number"]

    def __str__(self) -> str:
        return f"Change plan {self.number}"

"""Work that waits for a worker: what every row of it has."""

from typing import ClassVar

from django.db import models
from django.db.models.functions import Now

from apps.core.identifiers import uuid7


class Work(models.Model):
    """One wish, until its end. A worker holds it for the time of a lease, and three may try."""

    class State(models.TextChoices):
        WAITING = "waiting", "Waits"
        RUNNING = "running", "Runs"
        COMPLETE = "complete", "Complete"
        REFUSED = "refused", "Refused"
        FAILED = "failed", "Failed"

    OPEN = (State.WAITING, State.RUNNING)

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    state = models.CharField(max_length=10, choices=State, default=State.WAITING)
    attempts = models.PositiveIntegerField(default=0)
    # Raised by every claim: whoever holds an older one has lost the job, and may not end it.
    fence = models.PositiveIntegerField(default=0)
    worker = models.CharField(max_length=200, blank=True)
    not_before = models.DateTimeField(db_default=Now())
    lease_expires = models.DateTimeField(null=True)
    reason = models.TextField(blank=True)
    created = models.DateTimeField(auto_now_add=True)
    finished = models.DateTimeField(null=True)

    class Meta:
        abstract = True
        ordering: ClassVar = ["-id"]

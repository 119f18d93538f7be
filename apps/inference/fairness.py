"""Whose film is next: the urgent ones first, and among equals the hospitals in turns.

Start-time fair queueing (Goyal, Vin and Cheng, 1996): a job gets its turn when it is queued, one after the tenant's
last waiting job and not before the turn that is being served. So a claim follows one index, however many wait, and a
hospital with one film stands behind one film of each of the others.
"""

from collections.abc import Mapping

from django.db import models
from django.db.models import QuerySet, Subquery
from django.db.models.functions import Coalesce, Greatest

from apps.inference.models import InferenceJob, JobState, Priority, ServedTurn

# Requested Procedure Priority (0040,1003) and the retired Study Priority ID (0032,000C), PS3.3 C.4.11 and PS3.3-2004.
_PRIORITIES = {
    "STAT": Priority.STAT,
    "URGENT": Priority.STAT,
    "HIGH": Priority.HIGH,
    "LOW": Priority.LOW,
}


def priority_of(attributes: Mapping[str, str]) -> Priority:
    """What the sender asked for; routine where it said nothing that we know."""
    said = attributes.get("RequestedProcedurePriority") or attributes.get("StudyPriorityID") or ""
    return _PRIORITIES.get(said.strip().upper(), Priority.ROUTINE)


def next_turn(priority: int) -> Greatest:
    """An expression for the turn of a job that is queued now, in the transaction of its tenant."""
    # The identifier makes it the order of the one index that begins with the tenant: the other one, read backwards,
    # would pass by all jobs of a hospital that fills the queue.
    waiting = InferenceJob.objects.filter(state=JobState.QUEUED, priority=priority).order_by("-turn", "id")
    served = ServedTurn.objects.filter(pk=priority)
    return Greatest(
        Coalesce(_first(waiting) + 1, 0), Coalesce(_first(served), 0), output_field=models.BigIntegerField()
    )


def _first(rows: "QuerySet[InferenceJob] | QuerySet[ServedTurn]") -> Subquery:
    return Subquery(rows.values("turn")[:1])


def remember(turns: Mapping[int, int]) -> None:
    """Write down, by priority, the turn that is being served."""
    served = [ServedTurn(priority=priority, turn=turn) for priority, turn in turns.items()]
    ServedTurn.objects.bulk_create(served, update_conflicts=True, unique_fields=["priority"], update_fields=["turn"])

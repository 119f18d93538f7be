"""Whose film is next: the urgent ones first, and among equals the hospitals in turns.

Start-time fair queueing (Goyal, Vin and Cheng, 1996): a job gets its turn when it is queued, one after the tenant's
last waiting job and not before the turn that is being served. So a claim follows one index, however many wait, and a
hospital with one film stands behind one film of each of the others. The database gives the turns out, by its function
``inference_next_turn``.
"""

from collections.abc import Mapping

from apps.inference.models import Priority

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


# Writes down, by priority, the turn that is being served: the claim's own statement ends with it.
REMEMBER = """
insert into inference_servedturn (priority, turn) select * from unnest(%(priorities)s::smallint[], %(turns)s::bigint[])
on conflict (priority) do update set turn = excluded.turn
"""

"""The order of the job queue: by priority, and among jobs of equal priority the tenants take turns.

Start-time fair queueing (Goyal, Vin and Cheng, 1996): a job gets its turn number when it is queued, one after the
tenant's last waiting job and not before the turn that is being served. So a claim reads one index, however many jobs
wait, and a tenant's single job waits for at most one job of each other tenant. The SQL function
``inference_next_turn`` computes the number.
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
    """The priority that the sender requested; routine where there is none or an unknown one."""
    requested = attributes.get("RequestedProcedurePriority") or attributes.get("StudyPriorityID") or ""
    return _PRIORITIES.get(requested.strip().upper(), Priority.ROUTINE)


# Stores the turn that is being served, by priority; it is the last part of the claim's statement.
REMEMBER = """
insert into inference_servedturn (priority, turn) select * from unnest(%(priorities)s::smallint[], %(turns)s::bigint[])
on conflict (priority) do update set turn = excluded.turn
"""

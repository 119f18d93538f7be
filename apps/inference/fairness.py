"""The order of the job queue: by priority, and among jobs of equal priority the tenants take turns.

Start-time fair queueing (Goyal, Vin and Cheng, 1996): a job gets its turn number when it is queued, one after the
tenant's last waiting job and not before the turn that is being served. So a claim reads one index, however many jobs
wait, and a tenant's single job waits for at most one job of each other tenant. The SQL function
``inference_next_turn`` computes the number.
"""

from collections.abc import Mapping

from django.db import connections

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


# A claim that a crash of the database undoes does no harm, so its commit does not wait for the disk.
_REMEMBER = """
set local synchronous_commit = off;
insert into inference_servedturn (priority, turn) select * from unnest(%s::smallint[], %s::bigint[])
on conflict (priority) do update set turn = excluded.turn
"""


def remember_turns(served: Mapping[int, int]) -> None:
    """Store the turn that is being served, by priority, in the transaction of a claim."""
    with connections["dispatch"].cursor() as cursor:
        cursor.execute(_REMEMBER, [list(served), list(served.values())])

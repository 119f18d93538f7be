"""What the dispatcher reads of queues, and those of the jobs worker whose packages it may not import.

Each package registers its own.
"""

from typing import Any

from apps.core.work_queue import Queue

DISPATCHED_COLUMNS = (
    "id", "tenant_id", "state", "attempts", "fence", "created", "is_suspect", "waits", "waiting_since",
)  # fmt: skip
"""The columns that a claim or a failure needs, of queues that the dispatcher's role reads; it may read few others."""

_WATCHED: list[Queue[Any]] = []


def watch(queue: Queue[Any]) -> None:
    """Let the dispatcher expire the leases of a queue, and wake its worker."""
    _WATCHED.append(queue)


def watched_queues() -> tuple[Queue[Any], ...]:
    return tuple(_WATCHED)

"""The queues of the jobs worker whose packages the dispatcher may not import; each package registers its own."""

from typing import Any

from apps.core.work_queue import Queue

_WATCHED: list[Queue[Any]] = []


def watch(queue: Queue[Any]) -> None:
    """Let the dispatcher expire the leases of a queue, and wake its worker."""
    _WATCHED.append(queue)


def watched_queues() -> tuple[Queue[Any], ...]:
    return tuple(_WATCHED)

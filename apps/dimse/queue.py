"""The queue of the reports about storage commitment."""

from typing import Final

from apps.core.wake_up import WakeUp
from apps.core.watched_queues import DISPATCHED_COLUMNS, watch
from apps.core.work_queue import Queue
from apps.dimse.models import Commitment

# A peer that is switched off at night gets its report in the morning.
PAUSES: Final = (30, 120, 600, 1800, 3600, 7200, 14_400, 28_800)

COMMITMENTS = Queue(
    Commitment,
    WakeUp.COMMIT,
    columns=(*DISPATCHED_COLUMNS, "priority"),
    using="dispatch",
    pauses=PAUSES,
)
watch(COMMITMENTS)

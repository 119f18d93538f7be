"""The queue of the jobs that create result objects."""

from apps.core.wake_up import WakeUp
from apps.core.watched_queues import DISPATCHED_COLUMNS, watch
from apps.core.work_queue import Queue
from apps.results.models import ResultJob

RESULTS = Queue(
    ResultJob,
    WakeUp.CREATE_RESULTS,
    columns=(*DISPATCHED_COLUMNS, "study_id", "priority"),
    using="dispatch",
)
watch(RESULTS)

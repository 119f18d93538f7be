"""The queue of the jobs that create result objects."""

from apps.core.wake_up import WakeUp
from apps.core.watched_queues import watch
from apps.core.work_queue import Queue
from apps.results.models import ResultJob

RESULTS = Queue(
    ResultJob,
    WakeUp.CREATE_RESULTS,
    # The columns that the dispatcher's role may read.
    columns=(
        "id", "tenant_id", "study_id", "state", "priority", "attempts", "fence", "created", "is_suspect", "waits",
        "waiting_since",
    ),
    using="dispatch",
)  # fmt: skip
watch(RESULTS)

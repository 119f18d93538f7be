"""Services that queue a study of the tenant in force."""

from uuid import UUID

from django.db import connection
from django.utils import timezone

from apps.core.identifiers import uuid7
from apps.core.wake_up import WakeUp, wake_after_commit
from apps.core.work_queue import JobState
from apps.inference.image_choice import LOST_OBJECTS, is_reading_due
from apps.inference.models import InferenceJob, Priority
from apps.routing.rule_models import QuietTime


def request_inference(*, study_id: UUID, priority: int = Priority.ROUTINE, quiet: QuietTime | None = None) -> None:
    """Queue a study of the tenant in force. Where it has an open job, only that job's priority may rise.

    A withdrawn study is not queued.

    One round trip: see ``inference/migrations/0014_quiet_time.py``.

    Args:
        quiet: how long the study waits for more images, where one has just arrived; None where none has. A study that
            waits already waits for this time again. A study of priority STAT is read at once.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "select inference_queue_reading(%s, s.id, %s::smallint, %s, make_interval(secs => %s),"
            " make_interval(secs => %s)) from studies_study s where s.id = %s and s.withdrawn is null",
            [uuid7(), priority, timezone.now(), *_seconds(quiet), study_id],
        )
    _wake(priority, quiet)


def _seconds(quiet: QuietTime | None) -> tuple[int | None, int | None]:
    return (quiet.after_image, quiet.longest) if quiet is not None else (None, None)


def _wake(priority: int, quiet: QuietTime | None) -> None:
    """Wake a worker, unless the study waits: workers and the dispatcher look for rows that became due."""
    if quiet is None or not quiet.after_image or priority >= Priority.STAT:
        wake_after_commit(WakeUp.INFER)


# One round trip where the study has no result yet, which is the usual case when an image arrives.
_QUEUE_FIRST = """
select inference_queue_reading(%s, %s, %s::smallint, %s, make_interval(secs => %s), make_interval(secs => %s))
 where not exists (select from inference_inferencejob j where j.study_id = %s and j.state in ('complete', 'rejected'))
"""


def request_reading_of_new_image(*, study_id: UUID, quiet: QuietTime, priority: int = Priority.ROUTINE) -> None:
    """Queue the study of a new image; where it was read before, only if the new image is the one to read.

    The caller has locked the study's row.
    """
    with connection.cursor() as cursor:
        cursor.execute(_QUEUE_FIRST, [uuid7(), study_id, priority, timezone.now(), *_seconds(quiet), study_id])
        is_queued = cursor.fetchone() is not None
    if is_queued:
        _wake(priority, quiet)
    elif InferenceJob.objects.filter(study=study_id, state=JobState.QUEUED).exists():
        request_inference(study_id=study_id, priority=priority, quiet=quiet)
    else:
        request_reading_if_due(study_id=study_id, priority=priority, quiet=quiet)


def request_reading_if_due(*, study_id: UUID, priority: int = Priority.ROUTINE, quiet: QuietTime | None = None) -> None:
    """Queue the study, whose row is locked, if the image to read is another one than that of its latest job."""
    if is_reading_due(study_id):
        request_inference(study_id=study_id, priority=priority, quiet=quiet)


def request_again_if_failed(*, study_id: UUID) -> None:
    """Queue a study again whose job failed, or whose object could not be used, when an image of it is sent again."""
    latest = InferenceJob.objects.filter(study=study_id).order_by("-id").first()
    if latest is not None and (latest.state == JobState.FAILED or latest.reason_code in LOST_OBJECTS):
        request_inference(study_id=study_id, priority=latest.priority)

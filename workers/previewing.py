"""Switches that an operator asked to see, each previewed in a child process that ends its own row."""

import subprocess
import sys
import threading

from django.conf import settings

from apps.deployment.models import PreviewJob
from apps.deployment.services import PREVIEWS
from workers.children import Attend, work_off


def preview_waiting(*, worker: str, stopping: threading.Event) -> None:
    work_off(PREVIEWS, _preview, worker=worker, stopping=stopping)


def _preview(job: PreviewJob, attend: Attend) -> None:
    child = subprocess.Popen(
        [sys.executable, "manage.py", "preview_job", str(job.pk), str(job.fence)],
        cwd=settings.BASE_DIR,
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    status = attend(child)
    # Nothing is left to end where the child came so far as to say what happened.
    PREVIEWS.fail(job=job, reason=f"Its process ended with status {status}: see the logs of the jobs worker.")

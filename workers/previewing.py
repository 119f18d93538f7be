"""Computes requested previews of a switch, each in a child process that ends its own job."""

import subprocess
import sys
import threading

from django.conf import settings

from apps.deployment.models import PreviewJob
from apps.deployment.services import PREVIEWS
from workers.children import WaitForChild, process_jobs


def preview_waiting(*, worker: str, stopping: threading.Event) -> None:
    process_jobs(PREVIEWS, _preview, worker=worker, stopping=stopping)


def _preview(job: PreviewJob, wait_for_child: WaitForChild) -> None:
    child = subprocess.Popen(
        [sys.executable, "manage.py", "preview_job", str(job.pk), str(job.fence)],
        cwd=settings.BASE_DIR,
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    status = wait_for_child(child)
    # Where the child has ended its job, this changes nothing.
    PREVIEWS.fail(job=job, reason=f"Its process ended with status {status}: see the logs of the jobs worker.")

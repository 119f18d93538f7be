"""Creates the DICOM objects of results: claim a study's job, create what it lacks, until no job waits.

It runs in a thread of the jobs worker, beside the inference workers and not in them. Its images are decoded in a
sandboxed child, as those of the web processes.
"""

import threading

from apps.results.creation import create_results
from apps.results.models import ResultJob
from apps.results.objects.check import ObjectInvalid
from apps.results.queue import RESULTS
from apps.tenants.scope import tenant_tx
from workers.children import WaitForChild, process_jobs


def create_waiting(*, worker: str, stopping: threading.Event) -> None:
    process_jobs(RESULTS, _create, worker=worker, stopping=stopping)


def _create(job: ResultJob, _: WaitForChild) -> None:
    assert job.tenant_id is not None
    try:
        create_results(job=job, tenant_id=job.tenant_id, study_id=job.study_id)
    except ObjectInvalid as error:
        # Another attempt would build the same object.
        with tenant_tx(job.tenant_id):
            RESULTS.reject(job=job, code="object-invalid", reason=str(error))

"""Storage commitment in both roles: reports to the peers that asked, and asks the destinations, until nothing waits."""

import threading

from apps.dimse.commitment import report_commitment
from apps.dimse.queue import COMMITMENTS
from apps.events.commitments import ASKING
from apps.results.committing import ask_destination
from workers.children import process_jobs


def report_waiting(*, worker: str, stopping: threading.Event) -> None:
    process_jobs(COMMITMENTS, lambda job, _: report_commitment(job), worker=worker, stopping=stopping)


def ask_waiting(*, worker: str, stopping: threading.Event) -> None:
    process_jobs(ASKING, lambda job, _: ask_destination(job), worker=worker, stopping=stopping)

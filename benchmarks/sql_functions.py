"""Compare the three SQL functions with ORM code that does the same, in turns in one PostgreSQL.

    python -m benchmarks.sql_functions [--instances 300] [--films 100]

Both are called with the same instances, in transactions that are rolled back; what they wrote is compared first. Prints
for each function CPU-ms per call in this process and in PostgreSQL, as medians, the ratio, and what it saves of an
instance as a share of one film's cost: the CPU time of all processes from STOW to findings in the same run, without the
network's forward pass. A function stays while that share is at least 5 % (`docs/adr/0004-sql-functions.md`). It reads
Linux's /proc.
"""

import argparse
import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np

from benchmarks.images import image_bytes
from benchmarks.pipeline import OURS, STARTER, measure_flow, store, wait_for_jobs, wait_for_workers
from benchmarks.raw import raw_predictor, squares
from benchmarks.stack import Stack, running_stack
from ml.model.manifest import read_manifest
from ml.phantom import synthetic_uid

LEAST_SHARE = 0.05


@dataclass
class Contender:
    """One of two ways to do the same, with its CPU-ms by call: here and in PostgreSQL."""

    run: Callable[[Any], object]
    here: list[float] = field(default_factory=list)
    server: list[float] = field(default_factory=list)

    @property
    def total(self) -> float:
        return statistics.median(map(sum, zip(self.here, self.server, strict=True)))

    def show(self) -> str:
        return f"{self.total:.2f} ({statistics.median(self.here):.2f} + {statistics.median(self.server):.2f})"


@contextmanager
def rolled_back(tenant_id: Any) -> Iterator[None]:
    from django.db import transaction

    from apps.tenants.scope import tenant_tx

    with tenant_tx(tenant_id):
        yield
        transaction.set_rollback(True)


def server_cpu_ms() -> Callable[[], float]:
    """A function that reads the CPU time of this connection's PostgreSQL process."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("select pg_backend_pid()")
        times = Path(f"/proc/{cursor.fetchone()[0]}/schedstat")
    return lambda: int(times.read_text().split()[0]) / 1e6


def compare(
    tenant_id: Any, inputs: Sequence[Any], prepare: Callable[[Any], Any], ours: Contender, peer: Contender
) -> None:
    """Call both with each input, each in a transaction of its own, and take turns in who is first."""
    server = server_cpu_ms()
    for number, given in enumerate(inputs):
        for contender in (ours, peer) if number % 2 else (peer, ours):
            with rolled_back(tenant_id):
                ready = prepare(given)
                here, there = time.process_time(), server()
                contender.run(ready)
                here, there = 1000 * (time.process_time() - here), server() - there
            contender.here.append(here)
            contender.server.append(there)


def require_same_rows(
    tenant_id: Any, inputs: Sequence[Any], prepare: Callable[[Any], Any], ours: Contender, peer: Contender
) -> None:
    """Compare what both write.

    Raises:
        SystemExit: they differ.
    """
    written = []
    for contender in (ours, peer):
        with rolled_back(tenant_id):
            for given in inputs:
                contender.run(prepare(given))
            written.append(rows())
    if written[0] != written[1]:
        raise SystemExit(f"The function and the ORM wrote different rows:\n{written[0]}\n{written[1]}")


def rows() -> list[Any]:
    """All rows that the functions write, without identifiers and times, which differ."""
    from apps.inference.models import Finding, HeatmapGrids, InferenceJob
    from apps.studies.models import Instance, Patient, Series, Study

    found = []
    for model in (Patient, Study, Series, Instance, InferenceJob, Finding, HeatmapGrids):
        for row in model.objects.order_by("pk").values():
            kept = {name: value for name, value in row.items() if not isinstance(value, UUID | datetime)}
            found.append({**kept, "data": bytes(kept["data"])} if "data" in kept else kept)
    return sorted(found, key=str)


@dataclass
class Subject:
    """A function with its peer. ``prepare`` makes what a call needs, outside of the measured time."""

    name: str
    ours: Callable[[Any], object]
    peer: Callable[[Any], object]
    inputs: Sequence[Any]
    prepare: Callable[[Any], Any]
    same: Sequence[Any]
    instances: int = 1

    def measure(self, tenant_id: Any, film_ms: float) -> None:
        ours, peer = Contender(self.ours), Contender(self.peer)
        require_same_rows(tenant_id, self.same, self.prepare, ours, peer)
        compare(tenant_id, self.inputs, self.prepare, ours, peer)
        saved = (peer.total - ours.total) / self.instances
        share = saved / film_ms
        verdict = "stays" if share >= LEAST_SHARE else "does not earn its place"
        print(f"{self.name:<34} {ours.show():<20} {peer.show():<20} {ours.total / peer.total:5.2f} "
              f"{saved:6.2f} {share:7.1%}  {verdict}")  # fmt: skip


def subjects(count: int, inspected: Any, version: Any) -> list[Subject]:
    from apps.audit.services import Actor
    from apps.inference.requests import request_reading_of_new_image
    from apps.inference.services import complete_jobs
    from apps.studies import services as studies
    from benchmarks import sql_peers

    by = Actor(name="benchmark")
    spooled, found = inspected.spooled, inspected.found

    def distinct(number: int, study: int | None = None) -> Any:
        uids = {
            name: synthetic_uid("functions", name, number if name == "sop" or study is None else study)
            for name in ("study", "series", "sop")
        }
        return dataclasses.replace(
            found,
            attributes={**found.attributes, "PatientID": f"F-{number if study is None else study}"},
            **{f"{name}_instance_uid": uid for name, uid in uids.items()},
        )

    def stored(number: int) -> Any:
        return studies.store_instance(spooled=spooled, found=distinct(number), by=by).study_id

    def claimed(numbers: Sequence[int]) -> list[Any]:
        return [result_of(stored(number), version) for number in numbers]

    images = [distinct(number) for number in range(count)]
    again = [images[0], images[1], images[0], distinct(2, study=0)]
    written = [
        Subject(
            "studies_store_instance",
            lambda image: studies.store_instance(spooled=spooled, found=image, by=by),
            lambda image: sql_peers.store_instance(spooled=spooled, found=image, by=by),
            images, lambda image: image, again,
        ),
        Subject(
            "inference_queue_job",
            lambda study_id: request_reading_of_new_image(study_id=study_id),
            lambda study_id: sql_peers.queue_new_image(study_id=study_id, priority=0),
            range(count), stored, [0, 1, 0],
        ),
    ]  # fmt: skip
    for size in (1, 8):
        batches = [range(start, start + size) for start in range(0, count, size)]
        written.append(
            Subject(
                f"inference_complete_jobs, {size} a batch",
                lambda results: complete_jobs(results=results, version=version),
                lambda results: sql_peers.complete_jobs(results=results, version=version),
                batches,
                claimed,
                [range(8)],
                size,
            )
        )
    return written


def result_of(study_id: Any, version: Any) -> Any:
    """A running job of a stored study, and a result for it."""
    from django.utils import timezone

    from apps.core.work_queue import JobState
    from apps.deployment.selectors import thresholds_for
    from apps.inference.leases import LEASE, ClaimedJob
    from apps.inference.models import InferenceJob
    from apps.inference.services import JobResult
    from apps.studies.models import Instance
    from apps.tenants.scope import current_tenant_id

    tenant_id = current_tenant_id()
    job = InferenceJob.objects.create(
        study_id=study_id, state=JobState.RUNNING, fence=7, lease_until=timezone.now() + LEASE, model_version=version
    )
    probabilities = {label: 0.1 + 0.05 * place for place, label in enumerate(thresholds_for(version, tenant_id))}
    return JobResult(
        job=ClaimedJob(job.pk, tenant_id, 7, version.pk, study_id),
        instance=Instance.objects.get(series__study=study_id),
        instances_seen=1,
        probabilities=probabilities,
        cams=np.zeros((len(probabilities), 7, 7), np.float16),
        picture=(720, 720),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=300)
    parser.add_argument("--films", type=int, default=100)
    options = parser.parse_args()
    with running_stack(OURS) as stack:
        import django

        django.setup()
        from apps.deployment.release_gates import platform_version
        from apps.ingest.intake import inspect_file
        from apps.studies.spool import open_spool
        from apps.tenants.models import Tenant

        wait_for_workers(1)
        film_ms = film_cost(stack, options.films)
        print(f"CPU-ms a call (here + in PostgreSQL)\n{'':<34} {'function':<20} {'ORM':<20} {'ratio':>5} "
              f"{'saved':>6} {'share':>7}")  # fmt: skip
        tenant_id = Tenant.objects.order_by("slug").first().pk
        with open_spool() as spool:
            inspected = inspect_file(spool.write(image_bytes(0, "functions")))
            for each in subjects(options.instances, inspected, platform_version()):
                each.measure(tenant_id, film_ms)


def film_cost(stack: Stack, films: int) -> float:
    """CPU-ms of one film outside the forward pass in all processes, PostgreSQL and Valkey included."""
    store(stack, 16, "warm")
    wait_for_jobs(16)
    batch = squares(read_manifest(STARTER).input_space.size, 8)
    with tempfile.TemporaryDirectory() as cache, raw_predictor(STARTER, Path(cache), batch) as raw:
        forward = raw(2.0).cpu_ms
        _, spent = measure_flow(stack, films, "cost")
        forward = (forward + raw(2.0).cpu_ms) / 2
    total = 1000 * sum(spent.values()) / films
    print(
        f"one film, STOW to findings   {total:.1f} CPU-ms in all processes, {total - forward:.1f} without the network"
    )
    return total - forward


if __name__ == "__main__":
    main()

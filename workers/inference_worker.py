"""The loop of an inference worker: claim, decode, predict, write, until no job waits.

While the network computes one batch, the next one is claimed and decoded and the former one is written, so that the
network does not wait for either. The jobs of a claim may be for several versions, as their tenants' deployments name
them; each version's jobs are a batch, and complete on the version that they were claimed for. Where no job waits,
shadow readings are processed, in small batches.

A job whose worker died is a suspect: it is read alone, so that only it can be the cause if this worker dies as well.
While the object storage or the database does not answer, no job is claimed (`workers.outage`).
"""

import contextlib
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from typing import Self

from django.conf import settings
from django.db import DatabaseError, InterfaceError, close_old_connections, connections

from apps.core.process_names import name_of_this_process
from apps.core.retry import failure_of, outage_of
from apps.inference import services as inference
from apps.inference import shadows
from apps.inference.leases import Claim, ClaimedJob, ClaimedShadow
from apps.inference.reader import DeviceFailedError, ImageReader, finish_decoding, predict
from apps.inference.retries import free_ended_workers, return_after_failure
from apps.inference.selectors import suspects_wait
from apps.inference.version_cache import LoadedVersion
from apps.registry import engine
from workers.heartbeat import Heartbeat
from workers.outage import Outage
from workers.pipeline import ClaimedReading, choose_images, probe_storage, write_refusal, write_results
from workers.versions import DeployedVersions, WorkerVersions

logger = logging.getLogger(__name__)
# One batch in the network, one being written; or two in the network, so that no core is idle at the end of a batch.
_BATCHES_UNDER_WAY = 2
# A job that arrives while shadow readings are processed waits for at most this many of them.
_SHADOW_BATCH = max(1, settings.INFERENCE_BATCH_SIZE // 4)
# So many suspects are read, each alone, between two batches, so that neither waits long for the other.
_SUSPECTS_IN_A_ROW = 8


@dataclass
class _Batch:
    """Claimed jobs, with the version that they were claimed for: the version in service may change meanwhile."""

    used: LoadedVersion
    readings: list[ClaimedReading]


def _end_process(reason: str) -> None:
    """End this process at once: its threads may hang. The supervisor starts another one."""
    logger.critical("%s This worker ends.", reason)
    os._exit(os.EX_SOFTWARE)


class InferenceWorker:
    """The models, decoders and claims of one inference worker.

    Args:
        device: auto, cpu or cuda.
        give_up: called with the reason when the device fails or hangs.
    """

    def __init__(self, device: str = "auto", give_up: Callable[[str], None] = _end_process) -> None:
        self._give_up = give_up
        self._name = name_of_this_process()
        self._reader = ImageReader(engine.Sandbox(workers=settings.DECODER_PROCESSES))
        self._threads = ThreadPoolExecutor(_BATCHES_UNDER_WAY, thread_name_prefix="predict")
        self._versions = WorkerVersions(device, on_change=self._report_change)
        self._outage = Outage()
        self._heartbeat = Heartbeat(self._name, state=self._state, give_up=give_up)
        self._stop = threading.Event()
        self._running = threading.Lock()
        self._woken = threading.Event()
        self.changed = threading.Event()
        """Set when a version was loaded or dropped, so that other jobs may be claimed now."""
        self.last_run = time.monotonic()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Load the versions in service and start the heartbeat; without a version the worker waits for one."""
        self._heartbeat.start()
        try:
            freed = free_ended_workers()
            if freed:
                logger.warning("%d jobs of ended workers were queued again.", freed)
            self._versions.wait_until_loaded()
        except (DatabaseError, InterfaceError) as error:
            logger.warning("The database did not answer (%s); the worker tries again soon.", type(error).__name__)

    def _report_change(self) -> None:
        self.changed.set()
        self._heartbeat.report_now()

    def _state(self) -> dict[str, object]:
        state: dict[str, object] = self._versions.state()
        if code := self._outage.code:
            state["error"] = f"Claims no jobs: {failure_of(code).cause}."
        return state

    def request_stop(self) -> None:
        """Finish the started batches and claim no more."""
        self._stop.set()

    def close(self) -> None:
        self.request_stop()
        with self._running:
            for _ in range(_BATCHES_UNDER_WAY):
                self._threads.submit(connections.close_all)
            self._threads.shutdown()
            self._reader.close()
            self._versions.close()
            self._heartbeat.close()

    def run(self) -> int:
        """Process jobs until none waits; return how many were claimed. A running thread of this method checks again."""
        taken = 0
        self._woken.set()
        while self._woken.is_set() and self._running.acquire(blocking=False):
            try:
                taken += self._run()
            finally:
                self._running.release()
        return taken

    def _run(self) -> int:
        close_old_connections()
        taken = 0
        under_way: deque[Future[None]] = deque()
        try:
            while True:
                self._woken.clear()
                while under_way and under_way[0].done():
                    under_way.popleft().result()
                suspects = self._read_suspects(under_way)
                batches, may_be_more = self._prepare()
                may_be_more = may_be_more or suspects == _SUSPECTS_IN_A_ROW
                # All are submitted at once: a submitted batch returns its claims, also if another batch fails.
                taken += suspects + sum(len(batch.readings) for batch in batches)
                under_way += [self._submit(batch) for batch in batches]
                if not under_way and not may_be_more:
                    return taken
                while len(under_way) >= _BATCHES_UNDER_WAY:
                    under_way.popleft().result()
                if not may_be_more:
                    # Until a wake-up message arrives, polling would only take time from the network.
                    self._woken.wait()
        finally:
            wait(under_way)
            self.last_run = time.monotonic()

    def _submit(self, batch: _Batch) -> "Future[None]":
        under_way = self._threads.submit(self._predict_and_write, batch)
        under_way.add_done_callback(lambda _: self._woken.set())
        return under_way

    def _read_suspects(self, under_way: "deque[Future[None]]") -> int:
        """Read jobs whose worker died, each alone in this process; return how many were claimed."""
        taken = 0
        while taken < _SUSPECTS_IN_A_ROW and suspects_wait():
            while under_way:
                under_way.popleft().result()
            batches, _ = self._prepare(suspect=True)
            if not batches:
                break
            for batch in batches:
                taken += len(batch.readings)
                self._predict_and_write(batch)
        return taken

    def _predict_and_write(self, batch: _Batch) -> None:
        close_old_connections()
        held = [reading.claim for reading in batch.readings]
        try:
            predict(batch.readings, batch.used.predictor)
            self._write(batch)
        except DeviceFailedError as error:
            for claim in held:
                self._return(claim, error.code)
            self._give_up(error.detail)
        finally:
            # In every case: the lease of a job that has not ended must expire, so that it is claimed again.
            self._heartbeat.release(held)

    def _prepare(self, *, suspect: bool = False) -> tuple[list[_Batch], bool]:
        """Claim jobs and decode their images; return a batch for each version, and whether more jobs may wait."""
        if self._stop.is_set() or self._outage.lasts() or not (deployed := self._versions.deployed()):
            return [], False
        claims, may_be_more = self._claim(deployed, suspect)
        self._heartbeat.hold(claims)
        try:
            return self._decode(claims, deployed) if claims else [], may_be_more
        except BaseException as error:
            self._heartbeat.release(claims)
            self._heartbeat.fail(claims, outage_of(error) or "worker-lost")
            raise

    def _claim(
        self, deployed: DeployedVersions, suspect: bool
    ) -> "tuple[list[ClaimedJob] | list[ClaimedShadow], bool]":
        limit, shadow_limit = (1, 1) if suspect else (settings.INFERENCE_BATCH_SIZE, _SHADOW_BATCH)
        jobs = inference.claim_jobs(
            limit=limit,
            version=deployed.default_version,
            pins=deployed.pins,
            canaries=deployed.canaries,
            worker=self._name,
            suspect=suspect,
        )
        if jobs or not deployed.shadows:
            return jobs, len(jobs) == limit
        again = shadows.claim_shadows(limit=shadow_limit, versions=deployed.shadows, worker=self._name, suspect=suspect)
        return again, len(again) == shadow_limit

    def _decode(self, claims: "list[ClaimedJob] | list[ClaimedShadow]", deployed: DeployedVersions) -> list[_Batch]:
        batches = {claim.version_id: _Batch(deployed.loaded_version(claim.version_id), []) for claim in claims}
        for reading in choose_images(claims):
            batches[reading.claim.version_id].readings.append(reading)
        with contextlib.ExitStack() as decodings:
            for batch in batches.values():
                space = batch.used.predictor.manifest.input_space
                decodings.enter_context(self._reader.start_decoding(batch.readings, space))
            for batch in batches.values():
                finish_decoding(batch.readings)
        for batch in batches.values():
            failed = [reading for reading in batch.readings if reading.failure is not None]
            batch.readings = [reading for reading in batch.readings if reading.failure is None]
            for reading in failed:
                self._return_failed(reading)
        return [batch for batch in batches.values() if batch.readings]

    def _return_failed(self, reading: ClaimedReading) -> None:
        assert reading.failure is not None
        self._heartbeat.release([reading.claim])
        if reading.failure.code == "storage-unavailable":
            self._outage.begin(reading.failure.code, partial(probe_storage, reading))
        self._return(reading.claim, reading.failure.code, reading.failure.detail)

    def _return(self, claim: Claim, code: str, detail: str = "") -> None:
        try:
            return_after_failure(job=claim, code=code, detail=detail)
        except (DatabaseError, InterfaceError):
            self._heartbeat.fail([claim], code)

    def _write(self, batch: _Batch) -> None:
        for reading in batch.readings:
            if reading.failure is not None:
                self._return_failed(reading)
            elif reading.refusal is not None:
                self._guarded([reading], write_refusal, reading)
        scored = [reading for reading in batch.readings if reading.probabilities]
        for tenant_id in dict.fromkeys(reading.claim.tenant_id for reading in scored):
            own = [reading for reading in scored if reading.claim.tenant_id == tenant_id]
            if not self._guarded(own, write_results, own, batch.used.version):
                for reading in own:
                    self._guarded([reading], write_results, [reading], batch.used.version)

    def _guarded(self, readings: list[ClaimedReading], write: Callable[..., None], *arguments: object) -> bool:
        """Write results so that an error does not stop other writes; return False where each must be written alone."""
        try:
            write(*arguments)
        except Exception as error:
            logger.exception("Results of %d images could not be written.", len(readings))
            if code := outage_of(error):
                self._heartbeat.fail([reading.claim for reading in readings], code)
            elif len(readings) == 1:
                detail = f"The result could not be stored ({type(error).__name__})."
                self._return(readings[0].claim, "write-error", detail)
            else:
                return False
        return True

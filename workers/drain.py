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
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from typing import Self

import numpy as np
from django.conf import settings
from django.db import DatabaseError, InterfaceError, close_old_connections, connections

from apps.core.metrics import FORWARD_SECONDS
from apps.core.process_names import name_of_this_process
from apps.core.retry import failure_of, outage_of
from apps.inference import services as inference
from apps.inference import shadows
from apps.inference.leases import Claim, ClaimedJob, ClaimedShadow
from apps.inference.retries import free_ended_workers, return_after_failure
from apps.inference.selectors import suspects_wait
from apps.registry import engine
from apps.studies.storage import is_local_storage
from workers.fleet import Fleet, Loaded, Serving
from workers.heartbeat import Heartbeat
from workers.outage import Outage
from workers.pipeline import (
    DecodingFailed,
    ImageReading,
    Score,
    finish_decoding,
    probe_storage,
    read_inputs,
    start_decoding,
    write_refusal,
    write_results,
)

logger = logging.getLogger(__name__)
# One batch in the network, one being written; or two in the network, so that no core is idle at the end of a batch.
_BATCHES_UNDER_WAY = 2
# Parallel downloads from a remote storage: each one mostly waits for the network.
_COPIES_AT_ONCE = 8
# A job that arrives while shadow readings are processed waits for at most this many of them.
_SHADOW_BATCH = max(1, settings.INFERENCE_BATCH_SIZE // 4)
# So many suspects are read, each alone, between two batches, so that neither waits long for the other.
_SUSPECTS_IN_A_ROW = 8


@dataclass(frozen=True)
class _Batch:
    """Claimed jobs, with the version that they were claimed for: the version in service may change meanwhile."""

    loaded: Loaded
    readings: list[ImageReading]


def _end_process(reason: str) -> None:
    """End this process at once: its threads may hang. The supervisor starts another one."""
    logger.critical("%s This worker ends.", reason)
    os._exit(os.EX_SOFTWARE)


class Drain:
    """The models, decoders and claims of one inference worker.

    Args:
        device: auto, cpu or cuda.
        give_up: called with the reason when the device fails or hangs.
    """

    def __init__(self, device: str = "auto", give_up: Callable[[str], None] = _end_process) -> None:
        self._give_up = give_up
        self._name = name_of_this_process()
        self._sandbox = engine.Sandbox(workers=settings.DECODER_PROCESSES)
        self._threads = ThreadPoolExecutor(_BATCHES_UNDER_WAY, thread_name_prefix="drain")
        self._copiers = ThreadPoolExecutor(_COPIES_AT_ONCE, thread_name_prefix="copy")
        self._fleet = Fleet(device, on_change=self._report_change)
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
            self._fleet.settle()
        except (DatabaseError, InterfaceError) as error:
            logger.warning("The database did not answer (%s); the worker tries again soon.", type(error).__name__)

    def _report_change(self) -> None:
        self.changed.set()
        self._heartbeat.report_now()

    def _state(self) -> dict[str, object]:
        state: dict[str, object] = self._fleet.state()
        if code := self._outage.code:
            state["error"] = f"Claims no jobs: {failure_of(code).what}."
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
            self._copiers.shutdown()
            self._sandbox.close()
            self._fleet.close()
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
            if self._predict(batch):
                self._write(batch)
            else:
                self._give_up("The device fails on the golden image as well.")
        finally:
            # In every case: the lease of a job that has not ended must expire, so that it is claimed again.
            self._heartbeat.release(held)

    def _prepare(self, *, suspect: bool = False) -> tuple[list[_Batch], bool]:
        """Claim jobs and decode their images; return a batch for each version, and whether more jobs may wait."""
        if self._stop.is_set() or self._outage.lasts() or not (serving := self._fleet.serving()):
            return [], False
        claims, may_be_more = self._claim(serving, suspect)
        self._heartbeat.hold(claims)
        try:
            return self._decode(claims, serving) if claims else [], may_be_more
        except BaseException as error:
            self._heartbeat.release(claims)
            self._heartbeat.fail(claims, outage_of(error) or "worker-lost")
            raise

    def _claim(self, serving: Serving, suspect: bool) -> "tuple[list[ClaimedJob] | list[ClaimedShadow], bool]":
        limit, shadow_limit = (1, 1) if suspect else (settings.INFERENCE_BATCH_SIZE, _SHADOW_BATCH)
        jobs = inference.claim_jobs(
            limit=limit,
            version=serving.everyone.version if serving.everyone else None,
            pins={tenant_id: loaded.version if loaded else None for tenant_id, loaded in serving.pins.items()},
            canaries=serving.canaries,
            worker=self._name,
            suspect=suspect,
        )
        if jobs or not serving.shadows:
            return jobs, len(jobs) == limit
        again = shadows.claim_shadows(limit=shadow_limit, versions=serving.shadows, worker=self._name, suspect=suspect)
        return again, len(again) == shadow_limit

    def _decode(self, claims: "list[ClaimedJob] | list[ClaimedShadow]", serving: Serving) -> list[_Batch]:
        batches = {claim.version_id: _Batch(serving.holding(claim.version_id), []) for claim in claims}
        with contextlib.ExitStack() as copies:
            readings = read_inputs(claims)
            spaces = {version_id: batch.loaded.predictor.manifest.input_space for version_id, batch in batches.items()}
            in_turn: Iterable[Future[engine.LoadedInput] | None] = (map if is_local_storage() else self._copiers.map)(
                lambda reading: start_decoding(reading, spaces[reading.claim.version_id], self._sandbox, copies),
                readings,
            )
            decodings = list(in_turn)
            for reading, decoding in zip(readings, decodings, strict=True):
                try:
                    finish_decoding(reading, decoding)
                except DecodingFailed as error:
                    self._after_decoding_failed(reading, error)
                else:
                    batches[reading.claim.version_id].readings.append(reading)
        return [batch for batch in batches.values() if batch.readings]

    def _after_decoding_failed(self, reading: ImageReading, error: DecodingFailed) -> None:
        self._heartbeat.release([reading.claim])
        if error.code == "storage-unavailable":
            self._outage.begin(error.code, partial(probe_storage, reading))
        self._return(reading.claim, error.code, error.detail)

    def _return(self, claim: Claim, code: str, detail: str = "") -> None:
        try:
            return_after_failure(job=claim, code=code, detail=detail)
        except (DatabaseError, InterfaceError):
            self._heartbeat.fail([claim], code)

    def _predict(self, batch: _Batch) -> bool:
        """Step 3: one forward pass for the images of the batch, and the check of their features.

        Returns:
            False where the device failed, and not an image: all claims were returned.
        """
        decoded = [reading for reading in batch.readings if reading.loaded is not None]
        try:
            _forward(batch.loaded.predictor, decoded)
        # One image must not fail the others of its batch, whichever exception the runtime raised.
        except Exception:
            logger.exception("A batch of %d images failed; each is tried alone.", len(decoded))
            if not _device_works(batch.loaded.predictor):
                for reading in batch.readings:
                    self._return(reading.claim, "device-failed")
                return False
            for reading in decoded:
                self._predict_alone(batch, reading)
        return True

    def _predict_alone(self, batch: _Batch, reading: ImageReading) -> None:
        try:
            _forward(batch.loaded.predictor, [reading])
        except Exception as error:
            batch.readings.remove(reading)
            detail = f"The network failed on this image ({type(error).__name__})."
            self._return(reading.claim, "inference-error", detail)

    def _write(self, batch: _Batch) -> None:
        scored = [reading for reading in batch.readings if reading.refusal is None]
        for reading in batch.readings:
            if reading.refusal is not None:
                self._guarded([reading], write_refusal, reading)
        for tenant_id in dict.fromkeys(reading.claim.tenant_id for reading in scored):
            own = [reading for reading in scored if reading.claim.tenant_id == tenant_id]
            if not self._guarded(own, write_results, own, batch.loaded.version):
                for reading in own:
                    self._guarded([reading], write_results, [reading], batch.loaded.version)

    def _guarded(self, readings: list[ImageReading], write: Callable[..., None], *arguments: object) -> bool:
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


def _device_works(predictor: engine.Predictor) -> bool:
    """Whether the network still computes the golden image: after an error a GPU may fail on every input."""
    try:
        predictor.verify()
    except Exception:
        logger.exception("The golden image fails as well.")
        return False
    return True


def _forward(predictor: engine.Predictor, readings: list[ImageReading]) -> None:
    squares = [reading.loaded.tensor_u8 for reading in readings if reading.loaded is not None]
    if not squares:
        return
    with FORWARD_SECONDS.time():
        prediction = predictor.predict(np.stack(squares))
    probabilities = predictor.probabilities(prediction)
    for index, (reading, gate) in enumerate(zip(readings, predictor.check_features(prediction), strict=True)):
        if gate.accepted:
            by_label = dict(zip(predictor.manifest.labels, map(float, probabilities[index]), strict=True))
            reading.score = Score(by_label, prediction.cams[index])
        else:
            reading.refusal = gate

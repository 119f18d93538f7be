"""The loop that an inference worker runs when a bell rings: claim, decode, predict, write, until nothing waits.

While one batch is in the network the next one is claimed and decoded and the one before is written, so that the
network never waits for either.
"""

import contextlib
import logging
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Self
from uuid import UUID

import numpy as np
from django.conf import settings
from django.db import DatabaseError, close_old_connections, connections

from apps.core.metrics import FORWARD_SECONDS
from apps.inference import services as inference
from apps.inference.loading import load_version
from apps.inference.services import ClaimedJob
from apps.registry import engine
from apps.registry.models import ModelVersion
from apps.registry.selectors import version_id_in_service, version_in_service
from workers.heartbeat import Heartbeat
from workers.pipeline import (
    Reading,
    Score,
    finish_decoding,
    read_inputs,
    start_decoding,
    write_refusal,
    write_results,
)

logger = logging.getLogger(__name__)
# One in the network, one being written; where both are in the network, no core waits at the end of a batch.
_BATCHES_UNDER_WAY = 2
# A version that could not be loaded is tried again after a while, not before each batch.
_RETRY_SECONDS = 30.0


@dataclass(frozen=True)
class _Batch:
    """Jobs on their way, with the version that they were claimed for: the pointer may move meanwhile."""

    version: ModelVersion
    predictor: engine.Predictor
    readings: list[Reading]


class Drain:
    """One worker's model, decoders and claims. Not for use by two threads at once."""

    def __init__(self, device: str = "auto") -> None:
        self._device = device
        self._name = f"{socket.gethostname()}:{os.getpid()}"
        self._sandbox = engine.Sandbox(workers=settings.DECODER_PROCESSES)
        self._threads = ThreadPoolExecutor(_BATCHES_UNDER_WAY, thread_name_prefix="drain")
        self._heartbeat = Heartbeat(self._name, idle=self.follow_pointer_if_idle)
        self._stop = threading.Event()
        self._running = threading.Lock()
        self._version: ModelVersion | None = None
        self._predictor: engine.Predictor | None = None
        self._refused: UUID | None = None
        self._retry_at = 0.0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Load the version in service and begin to report; without one the worker waits for it."""
        self._heartbeat.start()
        try:
            self._follow_pointer()
        except DatabaseError as error:
            logger.warning("The database did not answer (%s); the heartbeat tries again.", type(error).__name__)

    def request_stop(self) -> None:
        """Finish the batches under way and claim no more."""
        self._stop.set()

    def close(self) -> None:
        self.request_stop()
        with self._running:
            for _ in range(_BATCHES_UNDER_WAY):
                self._threads.submit(connections.close_all)
            self._threads.shutdown()
            self._sandbox.close()
            self._heartbeat.close()

    def run(self) -> int:
        """Work until nothing waits; how many jobs were taken."""
        with self._running:
            close_old_connections()
            taken = 0
            under_way: deque[Future[None]] = deque()
            try:
                while (batch := self._prepare()) is not None:
                    taken += len(batch.readings)
                    under_way.append(self._threads.submit(self._predict_and_write, batch))
                    if len(under_way) == _BATCHES_UNDER_WAY:
                        under_way.popleft().result()
            finally:
                wait(under_way)
            for written in under_way:
                written.result()
            return taken

    def _predict_and_write(self, batch: _Batch) -> None:
        close_old_connections()
        held = [reading.job for reading in batch.readings]
        try:
            self._predict(batch)
            self._write(batch)
        finally:
            # Whatever happened: a job that is not ended by now must lose its lease, so that it is claimed again.
            self._heartbeat.release(held)

    def _prepare(self) -> _Batch | None:
        """Claim a batch for the version in service and decode it; None where nothing waits."""
        if self._stop.is_set() or not self._follow_pointer():
            return None
        version, predictor = self._version, self._predictor
        assert version is not None
        assert predictor is not None
        jobs = inference.claim_jobs(limit=settings.INFERENCE_BATCH_SIZE, version=version, worker=self._name)
        if not jobs:
            return None
        self._heartbeat.hold(jobs)
        try:
            return _Batch(version, predictor, self._decode(jobs, predictor.manifest.input_space))
        except BaseException:
            self._heartbeat.release(jobs)
            raise

    def _decode(self, jobs: list[ClaimedJob], space: engine.InputSpace) -> list[Reading]:
        with contextlib.ExitStack() as copies:
            readings = read_inputs(jobs)
            decodings = [start_decoding(reading, space, self._sandbox, copies) for reading in readings]
            ready = []
            for reading, decoding in zip(readings, decodings, strict=True):
                if finish_decoding(reading, decoding):
                    ready.append(reading)
                else:
                    self._heartbeat.release([reading.job])
            return ready

    def _predict(self, batch: _Batch) -> None:
        """Step 3: one forward for the films of the batch, and the gate on what the network saw."""
        films = [reading for reading in batch.readings if reading.film is not None]
        try:
            _forward(batch.predictor, films)
        # One film must not fail its batchmates, whatever the network's runtime raised.
        except Exception:
            logger.exception("A batch of %d films failed; each is tried alone.", len(films))
            for film in films:
                self._predict_alone(batch, film)

    def _predict_alone(self, batch: _Batch, film: Reading) -> None:
        try:
            _forward(batch.predictor, [film])
        except Exception as error:
            batch.readings.remove(film)
            reason = f"the network failed on this film ({type(error).__name__})."
            inference.give_back(job=film.job, code="inference-error", reason=reason)

    def _write(self, batch: _Batch) -> None:
        scored = [reading for reading in batch.readings if reading.refusal is None]
        for reading in batch.readings:
            if reading.refusal is not None:
                _guarded([reading], write_refusal, reading)
        for tenant_id in dict.fromkeys(reading.job.tenant_id for reading in scored):
            own = [reading for reading in scored if reading.job.tenant_id == tenant_id]
            if not _guarded(own, write_results, own, batch.version) and len(own) > 1:
                for reading in own:
                    _guarded([reading], write_results, [reading], batch.version)

    def follow_pointer_if_idle(self) -> None:
        """What the heartbeat calls: a version that came into service is loaded before the next film."""
        if not self._stop.is_set() and self._running.acquire(blocking=False):
            try:
                self._follow_pointer()
            finally:
                self._running.release()

    def _follow_pointer(self) -> bool:
        """Load the version in service beside the one in use, then swap. False where there is no usable version."""
        wanted = version_id_in_service()
        if self._version is not None and wanted == self._version.pk:
            return True
        if wanted == self._refused and time.monotonic() < self._retry_at:
            return self._predictor is not None
        try:
            self._load(version_in_service())
        except DatabaseError:
            raise
        # An artifact may fail in the storage, in its hash, in the runtime or in memory: the old version goes on.
        except Exception as error:
            logger.error("The version in service cannot be loaded: %s", error)
            self._refused, self._retry_at = wanted, time.monotonic() + _RETRY_SECONDS
            self._heartbeat.report(self._version, error=str(error)[:500])
        return self._predictor is not None

    def _load(self, version: ModelVersion) -> None:
        predictor = load_version(version, device=self._device)
        predictor.warm_up()
        self._version, self._predictor = version, predictor
        self._heartbeat.report(version, runs_on=predictor.runs_on)
        logger.info("Serving %s.", version)


def _guarded(readings: list[Reading], write: Callable[..., None], *arguments: object) -> bool:
    """One film's or one hospital's write must not stop the others'. False where it failed."""
    try:
        write(*arguments)
    except Exception as error:
        logger.exception("Results of %d films could not be written.", len(readings))
        if len(readings) == 1:
            reason = f"the result could not be stored ({type(error).__name__})."
            with contextlib.suppress(DatabaseError):
                inference.give_back(job=readings[0].job, code="write-error", reason=reason)
        return False
    return True


def _forward(predictor: engine.Predictor, readings: list[Reading]) -> None:
    squares = [reading.film.tensor_u8 for reading in readings if reading.film is not None]
    if not squares:
        return
    with FORWARD_SECONDS.time():
        prediction = predictor.predict(np.stack(squares))
    probabilities = predictor.probabilities(prediction)
    for index, (reading, gate) in enumerate(zip(readings, predictor.gate(prediction), strict=True)):
        if gate.accepted:
            by_label = dict(zip(predictor.manifest.labels, map(float, probabilities[index]), strict=True))
            reading.score = Score(by_label, prediction.cams[index])
        else:
            reading.refusal = gate

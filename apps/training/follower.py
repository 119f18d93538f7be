"""The progress follower: threads that copy the chief's progress file into the run's row and into the terminal.

Training never waits for the database. While the database is not available, events are kept in memory and written later.
"""

import logging
import threading
import time
from pathlib import Path
from typing import Any, TextIO
from uuid import UUID

from django.db import DatabaseError, InterfaceError, connections
from tqdm import tqdm

from apps.registry import engine
from apps.training.runs import record_progress

logger = logging.getLogger(__name__)

_WRITE_SECONDS = 2.0
_HEARTBEAT_SECONDS = 10.0
_RETRY_SECONDS = 10.0


class Follower:
    """Follows one ``progress.jsonl`` while its ``with`` block runs.

    Thread-safe: a reader and a writer thread share the list of waiting events under a lock.

    Args:
        path: the file; it may not exist yet.
        run_id: the run's row.
        terminal: where the bar is drawn.
        offset: where reading starts, in bytes; 0 also records events that were missed before.
    """

    def __init__(
        self,
        path: Path,
        run_id: UUID,
        terminal: TextIO,
        offset: int = 0,
    ) -> None:
        self._path, self._offset = path, offset
        self._run_id = run_id
        self._bar = _Bar(terminal)
        self._waiting: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._reader = threading.Thread(target=self._read, name="training-progress-reader", daemon=True)
        self._writer = threading.Thread(target=self._write, name="training-progress-writer", daemon=True)

    def __enter__(self) -> "Follower":
        self._reader.start()
        self._writer.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stopping.set()
        self._reader.join()
        self._writer.join()
        self._bar.close()

    def _read(self) -> None:
        for event in engine.follow_progress(self._path, self._stopping.is_set, self._offset):
            self._bar.show(event)
            with self._lock:
                # Only the last step matters; every epoch is recorded.
                if self._waiting and self._waiting[-1]["event"] == event["event"] == "step":
                    self._waiting.pop()
                self._waiting.append(event)

    def _write(self) -> None:
        last = next_try = 0.0
        try:
            while not self._stopping.wait(_WRITE_SECONDS):
                now = time.monotonic()
                if now >= next_try and (self._waiting or now - last > _HEARTBEAT_SECONDS):
                    last = now
                    next_try = now if self._record() else now + _RETRY_SECONDS
            self._reader.join()
            self._record()
        finally:
            connections.close_all()

    def _record(self) -> bool:
        with self._lock:
            events, self._waiting = self._waiting, []
        try:
            record_progress(run_id=self._run_id, events=events)
        except (DatabaseError, InterfaceError) as error:
            # A broken connection does not recover: the next attempt opens a new one.
            connections.close_all()
            with self._lock:
                self._waiting = events + self._waiting
            logger.warning(
                "The training's progress cannot be written to the database (%s). Training continues.",
                type(error).__name__,
            )
            return False
        return True


class _Bar:
    """The progress bar in the terminal; where the output is not a terminal, one line for each epoch."""

    def __init__(self, terminal: TextIO) -> None:
        self._terminal = terminal
        self._bar: Any = None
        self._steps = 1
        self._figures: dict[str, str] = {}

    def show(self, event: dict[str, Any]) -> None:
        kind = event["event"]
        if kind == "start":
            self._open(event)
        elif kind in ("step", "epoch") and self._bar is not None:
            done = event["epoch"] * self._steps
            self._bar.n = done if kind == "epoch" else done - self._steps + event["step"]
            self._update(event)
            self._bar.refresh()
            if kind == "epoch" and self._bar.disable:
                figures = ", ".join(f"{name} {value}" for name, value in self._figures.items())
                print(f"{figures} ({done} of {self._bar.total} steps)", file=self._terminal, flush=True)

    def _open(self, event: dict[str, Any]) -> None:
        self.close()
        self._steps = event["steps_per_epoch"]
        done = event["resumed_epoch"] * self._steps
        self._bar = tqdm(
            total=event["epochs"] * self._steps, initial=done, unit="step", file=self._terminal, disable=None,
            desc="Training", dynamic_ncols=True,
        )  # fmt: skip

    def _update(self, event: dict[str, Any]) -> None:
        self._figures["epoch"] = str(event["epoch"])
        for name, shown in (("loss", "loss"), ("validation_auroc", "AUROC"), ("images_per_s", "images/s")):
            value = event.get(name)
            if value is not None:
                self._figures[shown] = f"{value:.4g}"
        self._bar.set_postfix(self._figures, refresh=False)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

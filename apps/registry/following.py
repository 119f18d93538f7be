"""A thread beside a training that copies what the chief reports into the run's row, and shows it in the terminal.

Training never waits for the database: where that is away, events are kept, and written when it answers again.
"""

import json
import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO
from uuid import UUID

from django.db import DatabaseError, InterfaceError, connections
from tqdm import tqdm

from apps.registry.runs import record_progress

logger = logging.getLogger(__name__)

# How often the file is looked at: the chief writes at most every two seconds.
_LOOK_SECONDS = 2.0
_BEAT_SECONDS = 10.0
_DATABASE_AWAY_SECONDS = 10.0


class Follower:
    """Follows one ``progress.jsonl`` while its `with` block runs.

    Args:
        path: the file; it may not exist yet.
        run_id: gives the run's row, and makes it where there is none yet; called once there is something to record.
        terminal: where the bar is drawn.
    """

    def __init__(self, path: Path, run_id: Callable[[Sequence[dict[str, Any]]], UUID | None], terminal: TextIO) -> None:
        self._tail = _Tail(path)
        self._run_id = run_id
        self._bar = _Bar(terminal)
        self._waiting: list[dict[str, Any]] = []
        self._next_write = self._last_write = 0.0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="training-progress", daemon=True)

    def __enter__(self) -> "Follower":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stopping.set()
        self._thread.join()
        self._bar.close()

    def _follow(self) -> None:
        try:
            while not self._stopping.wait(_LOOK_SECONDS):
                self._turn()
            self._next_write = 0.0
            self._turn()
        finally:
            connections.close_all()

    def _turn(self) -> None:
        events = self._tail.read()
        self._bar.show(events)
        self._waiting = _without_old_steps([*self._waiting, *events])
        now = time.monotonic()
        if now < self._next_write or not (self._waiting or now - self._last_write > _BEAT_SECONDS):
            return
        try:
            run_id = self._run_id(self._waiting)
            if run_id is not None:
                record_progress(run_id=run_id, events=self._waiting)
        except (DatabaseError, InterfaceError) as error:
            # A broken connection would stay broken: the next attempt opens its own.
            connections.close_all()
            self._next_write = now + _DATABASE_AWAY_SECONDS
            logger.warning("The database does not take the training's progress (%s); it goes on.", type(error).__name__)
        else:
            self._waiting, self._last_write = [], now


def _without_old_steps(events: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Only the last step matters; the epochs all do."""
    last = len(events) - 1
    return [event for index, event in enumerate(events) if event["event"] != "step" or index == last]


class _Tail:
    """Reads what was added to a file of JSON lines; a file that became shorter was begun anew."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0

    def read(self) -> list[dict[str, Any]]:
        try:
            with self._path.open("rb") as file:
                if self._path.stat().st_size < self._read:
                    self._read = 0
                file.seek(self._read)
                content = file.read()
        except FileNotFoundError:
            return []
        # The last line may be half written.
        whole = content[: content.rfind(b"\n") + 1]
        self._read += len(whole)
        return [json.loads(line) for line in whole.splitlines() if line.strip()]


class _Bar:
    """The training in the terminal, step by step; nothing where that is no terminal."""

    def __init__(self, terminal: TextIO) -> None:
        self._terminal = terminal
        self._bar: Any = None
        self._steps = 1
        self._told: dict[str, str] = {}

    def show(self, events: Sequence[dict[str, Any]]) -> None:
        for event in events:
            kind = event["event"]
            if kind == "start":
                self._open(event)
            elif kind in ("step", "epoch") and self._bar is not None:
                done = event["epoch"] * self._steps
                self._bar.n = done if kind == "epoch" else done - self._steps + event["step"]
                self._tell(event)
        if self._bar is not None and events:
            self._bar.refresh()

    def _open(self, event: dict[str, Any]) -> None:
        self.close()
        self._steps = event["steps_per_epoch"]
        done = event["resumed_epoch"] * self._steps
        self._bar = tqdm(
            total=event["epochs"] * self._steps, initial=done, unit="step", file=self._terminal, disable=None,
            desc="Training", dynamic_ncols=True,
        )  # fmt: skip

    def _tell(self, event: dict[str, Any]) -> None:
        self._told["epoch"] = str(event["epoch"])
        for name, shown in (("loss", "loss"), ("validation_auroc", "AUROC"), ("images_per_s", "images/s")):
            value = event.get(name)
            if value is not None:
                self._told[shown] = f"{value:.4g}"
        self._bar.set_postfix(self._told, refresh=False)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

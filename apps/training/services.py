"""One training from its command to its version: the row, the progress follower, and the registration at the end.

Training itself does not use the database, and continues while the database is not available.
"""

import fcntl
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any, TextIO, TypeVar
from uuid import UUID

from django.conf import settings
from django.db import InterfaceError, OperationalError, connections

from apps.audit.services import Actor
from apps.core.errors import ChecxrayError, ConflictError, InvalidInputError, OutOfSpaceError, UnavailableError
from apps.core.identifiers import uuid7
from apps.registry import engine
from apps.training.follower import Follower
from apps.training.models import TrainingRun
from apps.training.runs import (
    complete_training_run,
    digest_of,
    fail_training_run,
    find_unfinished,
    resume_training_run,
    start_training_run,
    stop_training_run,
)

_OUTAGE_SECONDS = 600.0
_RETRY_SECONDS = 5.0
_T = TypeVar("_T")


class TrainingEndedError(ChecxrayError):
    """The training failed or was stopped; the detail says why, and how to continue."""

    default_code = "training-ended"


@dataclass
class _Training:
    """One command's training, and its row where this machine has one."""

    config: engine.TrainingConfig
    nodes: engine.Nodes
    settings: dict[str, Any]
    by: Actor
    run: TrainingRun | None
    run_id: UUID

    def open_run(self) -> TrainingRun:
        """Create the run's row, or reopen the row of an unfinished run."""
        if self.run is not None:
            return resume_training_run(run=self.run, nodes=_node_range(self.nodes))
        self.run = start_training_run(
            run_id=self.run_id,
            # A version's name is part of URLs, and timm's names have dots.
            name=re.sub(r"[^\w-]+", "-", self.config.version_name, flags=re.ASCII)[:100],
            architecture=self.config.architecture,
            settings=self.settings,
            epochs=self.config.recipe.epochs,
            folder=self.config.out,
            nodes=_node_range(self.nodes),
            by=self.by,
        )
        return self.run


def run_training(
    *, config: engine.TrainingConfig, nodes: engine.Nodes, out: Path | None, by: Actor, terminal: TextIO
) -> TrainingRun | None:
    """Train, and register the result as a candidate.

    Args:
        config: what to train; its `out` is replaced by the folder that is chosen here.
        out: the run's folder; None takes the folder of an unfinished run of the same settings, or a new one.
        terminal: where progress is shown.

    Returns:
        The run; None where another machine's node is the chief.

    Raises:
        ConflictError: another command trains in that folder.
        TrainingEndedError: it failed or was stopped.
        UnavailableError: it is complete and cannot be registered now; the detail says how to do it later.
    """
    training = _prepare(config, nodes, out, by)
    if not engine.is_rendezvous_host(nodes):
        with _recorded_end(training):
            engine.launch(training.config, nodes, out=terminal)
        return None
    progress = training.config.out / engine.PROGRESS_FILE
    with _locked(training.config.out):
        run = training.open_run()
        # A fresh run in an old folder must not show the old curves.
        offset = progress.stat().st_size if not config.resume and progress.is_file() else 0
        # The connection would be idle for hours or days, and would break when the server restarts.
        connections.close_all()
        with _recorded_end(training), Follower(progress, run.pk, terminal, offset):
            artifact = engine.launch(training.config, nodes, out=terminal)
        return _register(run, artifact)


@contextmanager
def _recorded_end(training: _Training) -> Iterator[None]:
    """Record in the run's row that the training failed or was stopped, and raise the error with its own message."""
    try:
        yield
    except engine.TrainingFailed as error:
        reason = str(error)
        _end(training.run, lambda run: fail_training_run(run=run, reason=reason))
        raise TrainingEndedError(f"Training failed: {reason}", "training-failed") from error
    except ValueError as error:
        reason = str(error)
        _end(training.run, lambda run: fail_training_run(run=run, reason=reason))
        raise InvalidInputError(reason) from error
    except (KeyboardInterrupt, SystemExit) as error:
        _end(training.run, lambda run: stop_training_run(run=run))
        raise TrainingEndedError(
            "Training was stopped. The same command continues after the last complete checkpoint.", "training-stopped"
        ) from error


def _prepare(config: engine.TrainingConfig, nodes: engine.Nodes, out: Path | None, by: Actor) -> _Training:
    known = {**config.describe(), "data": str(config.data.resolve()), "name": config.version_name}
    run = find_unfinished(settings=known, folder=out) if config.resume else None
    run_id = uuid7()
    if out is not None:
        folder = out
    elif run is not None:
        folder = Path(run.folder)
    elif nodes.rdzv_endpoint is not None:
        # The same folder on every start, so that a node without a database finds its checkpoints.
        folder = _home() / digest_of(known)[:16]
    else:
        folder = _home() / str(run_id)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInputError(
            f"The folder {folder} cannot be made ({error.strerror}): choose another by --out."
        ) from error
    return _Training(replace(config, out=folder.resolve()), nodes, known, by, run, run_id)


def _home() -> Path:
    return settings.CHECXRAY_HOME / "training"


def _node_range(nodes: engine.Nodes) -> str:
    return str(nodes.minimum) if nodes.minimum == nodes.maximum else f"{nodes.minimum}:{nodes.maximum}"


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock the run's folder; the operating system releases the lock when this process ends."""
    try:
        file = (folder / "command.lock").open("w")
    except OSError as error:
        raise InvalidInputError(f"{folder} cannot be written ({error.strerror}): choose another by --out.") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConflictError(
                f"Another command trains in {folder}. Wait for it or stop it, or start a new run: --fresh."
            ) from error
        yield


def _register(run: TrainingRun, artifact: Path | None) -> TrainingRun | None:
    if artifact is None:
        # Two nodes run on the rendezvous host, and the other one has the row and the version.
        run.delete()
        return None
    try:
        return retry_during_outages(lambda: complete_training_run(run=run, artifact=artifact), artifact)
    except InvalidInputError as error:
        reason = f"The training's artifact is refused: {error.detail}"
        _end(run, lambda run: fail_training_run(run=run, reason=reason))
        raise TrainingEndedError(reason, "training-failed") from error


def _end(run: TrainingRun | None, write: Callable[[TrainingRun], None]) -> None:
    """Try once to record the run's end; an outage of the database must not hide why the run ended."""
    try:
        if run is not None:
            write(run)
    except (OperationalError, InterfaceError):
        connections.close_all()


def retry_during_outages(register: Callable[[], _T], artifact: Path) -> _T:
    """Retry a registration while the database or the storage is not available, so that no training is lost.

    Raises:
        UnavailableError: it was not available for ten minutes.
    """
    deadline = time.monotonic() + _OUTAGE_SECONDS
    while True:
        try:
            return register()
        except (OperationalError, InterfaceError, OSError, UnavailableError, OutOfSpaceError) as error:
            connections.close_all()
            if time.monotonic() > deadline:
                raise UnavailableError(
                    f"The training is complete, and cannot be registered now ({error}). Its artifact is "
                    f"in {artifact}: run the same command again later, or manage.py register_model {artifact}."
                ) from error
            time.sleep(_RETRY_SECONDS)


@contextmanager
def stopped_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end the command in order, as Ctrl-C does."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)

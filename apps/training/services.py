"""A training from its command until its version: the row, the follower beside it, the registration at its end.

Training itself knows neither the database nor this module, and goes on while the database is away.
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

_PATIENCE_SECONDS = 600.0
_RETRY_SECONDS = 5.0
_T = TypeVar("_T")


class TrainingEndedError(ChecxrayError):
    """The training failed or was stopped; the detail says why, and how to go on."""

    default_code = "training-ended"


@dataclass
class _Training:
    """One command's training, and its row where this machine keeps one."""

    config: engine.TrainingConfig
    nodes: engine.Nodes
    settings: dict[str, Any]
    by: Actor
    run: TrainingRun | None
    run_id: UUID

    def begin(self) -> TrainingRun:
        """The row of a training that starts or goes on."""
        if self.run is not None:
            return resume_training_run(run=self.run, nodes=_node_range(self.nodes))
        self.run = start_training_run(
            run_id=self.run_id,
            # timm's names have dots; a version's name stands in addresses.
            name=re.sub(r"[^\w-]+", "-", self.config.version_name, flags=re.ASCII)[:100],
            architecture=self.config.architecture,
            settings=self.settings,
            epochs=self.config.recipe.epochs,
            folder=self.config.out,
            nodes=_node_range(self.nodes),
            by=self.by,
        )
        return self.run


def train(
    *, config: engine.TrainingConfig, nodes: engine.Nodes, out: Path | None, by: Actor, terminal: TextIO
) -> TrainingRun | None:
    """Train, and register what came of it as a candidate. None where another machine's node is the chief.

    Args:
        config: what to train; its `out` is chosen here.
        out: the run's folder; by default one under the home, and the former one of an unfinished run that goes on.

    Raises:
        ConflictError: another command is at work in that folder.
        TrainingEndedError: it failed or was stopped.
        UnavailableError: it is done and cannot be registered now; the detail says how to do it later.
    """
    training = _prepare(config, nodes, out, by)
    if not engine.keeps_meeting(nodes):
        with _recorded_end(training):
            engine.launch(training.config, nodes, out=terminal)
        return None
    progress = training.config.out / engine.PROGRESS_FILE
    with _locked(training.config.out):
        run = training.begin()
        # A fresh run in an old folder does not inherit its curves.
        offset = progress.stat().st_size if not config.resume and progress.is_file() else 0
        # Idle for hours or days, an open connection would only be in the way of a restarting server.
        connections.close_all()
        with _recorded_end(training), Follower(progress, run.pk, terminal, offset):
            launched = engine.launch(training.config, nodes, out=terminal)
        return _register(run, launched)


@contextmanager
def _recorded_end(training: _Training) -> Iterator[None]:
    """A failure and a stop, each with its own end of the row and its own words."""
    try:
        yield
    except engine.TrainingFailed as error:
        reason = error.reason
        _end(training.run, lambda run: fail_training_run(run=run, reason=reason))
        raise TrainingEndedError(f"Training failed: {reason}", "training-failed") from error
    except ValueError as error:
        reason = str(error)
        _end(training.run, lambda run: fail_training_run(run=run, reason=reason))
        raise InvalidInputError(reason) from error
    except (KeyboardInterrupt, SystemExit) as error:
        _end(training.run, lambda run: stop_training_run(run=run))
        raise TrainingEndedError(
            "Training was stopped. The same command goes on after the last complete checkpoint.", "training-stopped"
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
        # The same on every start of the same training, so that it goes on here without asking any database.
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
    """A lock that ends with this process, however that ends."""
    try:
        file = (folder / "command.lock").open("w")
    except OSError as error:
        raise InvalidInputError(f"{folder} cannot be written ({error.strerror}): choose another by --out.") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConflictError(
                f"Another command trains in {folder}. Wait for it or stop it, or start afresh: --fresh."
            ) from error
        yield


def _register(run: TrainingRun, launched: engine.Launched) -> TrainingRun | None:
    if not launched.is_chief_node or launched.artifact is None:
        # Two nodes on the machine where they meet: the other one has the row and the version.
        run.delete()
        return None
    artifact = launched.artifact
    try:
        return retry_during_outages(lambda: complete_training_run(run=run, artifact=artifact), artifact)
    except InvalidInputError as error:
        reason = f"The training's artifact is refused: {error.detail}"
        _end(run, lambda run: fail_training_run(run=run, reason=reason))
        raise TrainingEndedError(reason, "training-failed") from error


def _end(run: TrainingRun | None, write: Callable[[TrainingRun], None]) -> None:
    """Write the run's end once; a database that is away must not hide why it ended."""
    try:
        if run is not None:
            write(run)
    except (OperationalError, InterfaceError):
        connections.close_all()


def retry_during_outages(act: Callable[[], _T], artifact: Path) -> _T:
    """Days of training do not end at a database or a storage that restarts just now.

    Raises:
        UnavailableError: it did not answer for ten minutes.
    """
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return act()
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
    """SIGTERM ends the command as Ctrl-C does: in order."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)

"""A training from its command until its version: the row, the follower beside it, the registration at its end.

Training itself knows neither the database nor this module, and goes on while the database is away.
"""

import fcntl
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO, TypeVar
from uuid import UUID

from django.conf import settings
from django.db import InterfaceError, OperationalError, connections

from apps.core.errors import ChecxrayError, ConflictError, InvalidInputError, OutOfSpaceError, UnavailableError
from apps.core.identifiers import uuid7
from apps.registry import engine
from apps.registry.following import Follower
from apps.registry.models import TrainingRun
from apps.registry.runs import (
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
    """One command's training: where it writes, and its row, which may come later."""

    config: engine.TrainingConfig
    nodes: engine.Nodes
    settings: dict[str, Any]
    actor: str
    run: TrainingRun | None

    def begin(self, run_id: UUID | None = None) -> TrainingRun:
        self.run = start_training_run(
            run_id=run_id,
            name=self.config.version_name,
            architecture=self.config.architecture,
            settings=self.settings,
            epochs=self.config.recipe.epochs,
            folder=self.config.out,
            nodes=_told(self.nodes),
            actor=self.actor,
        )
        return self.run

    def find_run(self, events: Sequence[dict[str, Any]]) -> UUID | None:
        """One of several machines learns only by the chief's first line that the chief is here."""
        if self.run is None and events:
            found = find_unfinished(settings=self.settings, folder=self.config.out)
            self.run = resume_training_run(run=found, nodes=_told(self.nodes)) if found else self.begin()
        return self.run.pk if self.run else None


def train(
    *, config: engine.TrainingConfig, nodes: engine.Nodes, out: Path | None, actor: str, terminal: TextIO
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
    training = _prepared(config, nodes, out, actor)
    progress = training.config.out / engine.PROGRESS_FILE
    with _sole_use(training.config.out):
        if nodes.rdzv_endpoint is None:
            if training.run is None:
                training.begin(_id_of(training.config.out))
            else:
                resume_training_run(run=training.run, nodes=_told(nodes))
        # A fresh run in an old folder does not inherit its curves.
        offset = 0 if config.resume or not progress.is_file() else progress.stat().st_size
        # Idle for hours or days, an open connection would only be in the way of a restarting server.
        connections.close_all()
        try:
            with Follower(progress, training.find_run, terminal, offset):
                launched = engine.launch(training.config, nodes, out=terminal)
        except engine.TrainingFailed as error:
            reason = error.reason
            _end(training, lambda run: fail_training_run(run=run, reason=reason))
            raise TrainingEndedError(f"Training failed: {reason}", "training-failed") from error
        except (KeyboardInterrupt, SystemExit) as error:
            _end(training, lambda run: stop_training_run(run=run))
            raise TrainingEndedError(
                "Training was stopped. The same command goes on after the last complete checkpoint.", "training-stopped"
            ) from error
        return _registered(training, launched)


def _prepared(config: engine.TrainingConfig, nodes: engine.Nodes, out: Path | None, actor: str) -> _Training:
    known = {**config.describe(), "data": str(config.data.resolve()), "name": config.version_name}
    run = find_unfinished(settings=known, folder=out) if config.resume else None
    if out is not None:
        folder = out
    elif run is not None:
        folder = Path(run.folder)
    elif nodes.rdzv_endpoint is not None:
        # The same on every start of the same training, so that it goes on here without asking any database.
        folder = _home() / digest_of(known)[:16]
    else:
        folder = _home() / str(uuid7())
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInputError(
            f"The folder {folder} cannot be made ({error.strerror}): choose another by --out."
        ) from error
    return _Training(replace(config, out=folder.resolve()), nodes, known, actor, run)


def _home() -> Path:
    return settings.CHECXRAY_HOME / "training"


def _id_of(folder: Path) -> UUID | None:
    """A folder of ours is named after its run."""
    return UUID(folder.name) if folder.parent == _home().resolve() and folder.name.count("-") == 4 else None


def _told(nodes: engine.Nodes) -> str:
    return str(nodes.minimum) if nodes.minimum == nodes.maximum else f"{nodes.minimum}:{nodes.maximum}"


@contextmanager
def _sole_use(folder: Path) -> Iterator[None]:
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


def _registered(training: _Training, launched: engine.Launched) -> TrainingRun | None:
    if not launched.is_chief_node or launched.artifact is None:
        return None
    artifact = launched.artifact
    run = patiently(lambda: training.run or training.begin(), artifact)
    try:
        return patiently(lambda: complete_training_run(run=run, artifact=artifact), artifact)
    except InvalidInputError as error:
        reason = f"The training's artifact is refused: {error.detail}"
        _end(training, lambda run: fail_training_run(run=run, reason=reason))
        raise TrainingEndedError(reason, "training-failed") from error


def _end(training: _Training, write: Callable[[TrainingRun], None]) -> None:
    """Write the run's end once; a database that is away must not hide why it ended."""
    try:
        if training.run is not None:
            write(training.run)
    except (OperationalError, InterfaceError):
        connections.close_all()


def patiently(act: Callable[[], _T], artifact: Path) -> _T:
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

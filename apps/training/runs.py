"""The rows of training runs, which copy the chief's ``progress.jsonl`` and may lag behind it.

The file is the source. Recording the same events again changes nothing, so after an outage of the database they are
simply recorded again.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from apps.audit.services import Actor
from apps.registry.services import register
from apps.training.models import TrainingEpoch, TrainingRun

_LONGEST_REASON = 4000
_EPOCH_FIELDS = ("loss", "validation_auroc", "lr", "images_per_s", "seconds", "data_wait", "ranks")
_START_FIELDS = (
    "world_size", "backend", "device", "epochs", "steps_per_epoch", "global_batch", "train_films", "validation_films",
    "forecast",
)  # fmt: skip


def digest_of(settings: Mapping[str, Any]) -> str:
    """The SHA-256 of a run's settings; a run continues only an earlier run with the same one."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()


def find_unfinished(*, settings: Mapping[str, Any], folder: Path | None = None) -> TrainingRun | None:
    """The last run of these settings (in that folder), if it has no version yet and its folder is on this machine."""
    runs = TrainingRun.objects.filter(settings_sha256=digest_of(settings))
    if folder is not None:
        runs = runs.filter(folder=str(folder.resolve()))
    last = runs.first()
    if last is None or last.state == TrainingRun.State.COMPLETE or not Path(last.folder).is_dir():
        return None
    return last


def start_training_run(
    *,
    name: str,
    architecture: str,
    settings: Mapping[str, Any],
    epochs: int,
    folder: Path,
    nodes: str,
    by: Actor,
    run_id: UUID,
) -> TrainingRun:
    """Create the row of a new training."""
    return TrainingRun.objects.create(
        id=run_id,
        name=name,
        architecture=architecture,
        settings=dict(settings),
        settings_sha256=digest_of(settings),
        epochs=epochs,
        folder=str(folder),
        nodes=nodes,
        actor=by.name,
        heartbeat=timezone.now(),
    )


def resume_training_run(*, run: TrainingRun, nodes: str) -> TrainingRun:
    """Bring the row of a training that continues back to its initial state."""
    run.state, run.nodes, run.reason = TrainingRun.State.WAITING, nodes, ""
    run.heartbeat, run.finished = timezone.now(), None
    run.images_per_s = run.data_wait = None
    run.save(
        update_fields=["state", "nodes", "reason", "heartbeat", "finished", "images_per_s", "data_wait"],
    )
    return run


def record_progress(*, run_id: UUID, events: Iterable[Mapping[str, Any]]) -> None:
    """Update the row from events of ``progress.jsonl``, in their order; without events, update only the heartbeat."""
    changes: dict[str, Any] = {}
    epochs: dict[int, Mapping[str, Any]] = {}
    kept: int | None = None
    started: float | None = None
    for event in events:
        changes |= _changes(event)
        if event["event"] == "start":
            started = started or event["time"]
            resumed = event["resumed_epoch"]
            kept = resumed if kept is None else min(kept, resumed)
            epochs = {number: row for number, row in epochs.items() if number <= resumed}
        elif event["event"] == "epoch":
            epochs[event["epoch"]] = event
    with transaction.atomic():
        if kept is not None:
            # The run continues from an earlier checkpoint, so the epochs after it are trained again.
            TrainingEpoch.objects.filter(run_id=run_id, epoch__gt=kept).delete()
        TrainingEpoch.objects.bulk_create(
            [TrainingEpoch(run_id=run_id, epoch=number, **_known(row)) for number, row in epochs.items()],
            update_conflicts=True,
            unique_fields=["run", "epoch"],
            update_fields=_EPOCH_FIELDS,
        )
        TrainingRun.objects.filter(pk=run_id).update(heartbeat=timezone.now(), **changes)
        if started is not None:
            TrainingRun.objects.filter(pk=run_id, started=None).update(started=datetime.fromtimestamp(started, UTC))
            TrainingRun.objects.filter(pk=run_id, state=TrainingRun.State.WAITING).update(
                state=TrainingRun.State.RUNNING
            )


def _changes(event: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of the run's row that one event changes."""
    kind = event["event"]
    if kind == "start":
        resumed = event["resumed_epoch"]
        return {
            "restarts": event["restart"],
            "epoch": resumed,
            "step": 0,
            **{name: event[name] for name in _START_FIELDS if name in event},
        }
    if kind == "step":
        names = ("epoch", "step", "loss", "lr", "images_per_s", "data_wait")
        return {name: event[name] for name in names}
    if kind == "epoch":
        names = ("epoch", "loss", "validation_auroc", "lr", "images_per_s", "data_wait")
        return {name: event[name] for name in names} | {"step": 0}
    if kind == "artifact":
        return {name: event[name] for name in ("selected_epoch", "validation_auroc")}
    return {}


def _known(event: Mapping[str, Any]) -> dict[str, Any]:
    return {name: event.get(name) for name in _EPOCH_FIELDS[:-1]} | {"ranks": event.get("ranks") or []}


def complete_training_run(*, run: TrainingRun, artifact: Path) -> TrainingRun:
    """Register the run's artifact as a candidate and end the run.

    Raises:
        InvalidInputError: the artifact is damaged; the run stays open.
    """
    version = register(artifact_dir=artifact, name=run.name)
    _end(run, TrainingRun.State.COMPLETE, model_version=version)
    return run


def fail_training_run(*, run: TrainingRun, reason: str) -> None:
    _end(run, TrainingRun.State.FAILED, reason=reason.strip()[:_LONGEST_REASON] or "No reason was given.")


def stop_training_run(*, run: TrainingRun) -> None:
    _end(run, TrainingRun.State.STOPPED)


def _end(run: TrainingRun, state: str, **changes: Any) -> None:
    now = timezone.now()
    TrainingRun.objects.filter(pk=run.pk).update(state=state, heartbeat=now, finished=now, **changes)
    run.refresh_from_db()

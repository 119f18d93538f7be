"""The row of a training run follows the chief's progress file, also where events are repeated."""

import io
import json
import shutil
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from django.db import IntegrityError, connections, transaction
from django.utils import timezone

from apps.audit.services import Actor
from apps.core.errors import InvalidInputError, UnavailableError
from apps.core.identifiers import uuid7
from apps.registry.models import ModelVersion
from apps.training.follower import Follower
from apps.training.models import TrainingRun
from apps.training.runs import (
    complete_training_run,
    fail_training_run,
    find_unfinished,
    record_progress,
    resume_training_run,
    start_training_run,
    stop_training_run,
)
from apps.training.services import retry_during_outages
from config.embedded.postgres import DATABASE, admin_dsn
from tests.conftest import STARTER
from tests.training.progress import artifact, epoch, start, step

SETTINGS = {"architecture": "densenet121", "epochs": 4}


@pytest.fixture
def run(db: None, tmp_path: Path) -> TrainingRun:
    return start_training_run(
        name="chexnet-densenet121", architecture="densenet121", settings=SETTINGS, epochs=4, folder=tmp_path,
        nodes="3", by=Actor(name="cli:test"), run_id=uuid7(),
    )  # fmt: skip


def seen(run: TrainingRun) -> dict[str, Any]:
    """Everything that is recorded of it but when it was heard of."""
    run.refresh_from_db()
    row = {field.name: getattr(run, field.attname) for field in TrainingRun._meta.fields if field.name != "heartbeat"}
    return row | {"epochs": list(run.epoch_rows.values("epoch", "loss", "validation_auroc", "lr", "ranks"))}


def test_a_run_is_followed_from_its_start_to_its_last_epoch(run: TrainingRun) -> None:
    assert (run.state, run.progress, run.remaining) == ("waiting", 0.0, None)
    record_progress(run_id=run.pk, events=[start(), step(1, 5)])
    run.refresh_from_db()
    assert (run.state, run.epoch, run.step, run.world_size, run.backend) == ("running", 1, 5, 3, "gloo")
    assert run.progress == pytest.approx(0.125)
    assert run.remaining == timedelta(seconds=70)  # 35 of 40 steps of 64 films at 32 films/s
    record_progress(run_id=run.pk, events=[epoch(1), step(2, 1)])
    record_progress(run_id=run.pk, events=[epoch(2, 0.75), epoch(3, None), epoch(4, 0.72), artifact(2)])
    run.refresh_from_db()
    assert (run.progress, run.selected_epoch, run.validation_auroc) == (1.0, 2, 0.73)
    assert list(run.epoch_rows.values_list("epoch", "validation_auroc")) == [(1, 0.7), (2, 0.75), (3, None), (4, 0.72)]


def test_the_same_events_again_change_nothing(run: TrainingRun) -> None:
    events = [
        start(),
        step(1, 5),
        epoch(1),
        epoch(2),
        start(resumed=1, restart=1),
        step(2, 1),
        epoch(2, 0.8),
        step(3, 4),
    ]
    record_progress(run_id=run.pk, events=events)
    first = seen(run)
    record_progress(run_id=run.pk, events=events)
    for event in events:
        record_progress(run_id=run.pk, events=[event])
    assert seen(run) == first
    assert [row["validation_auroc"] for row in first["epochs"]] == [0.7, 0.8]
    assert (first["restarts"], first["epoch"], first["step"]) == (1, 3, 4)


def test_epochs_repeated_after_a_checkpoint_count_once(run: TrainingRun) -> None:
    record_progress(run_id=run.pk, events=[start(), epoch(1), epoch(2), epoch(3)])
    record_progress(run_id=run.pk, events=[start(resumed=1, restart=1)])
    run.refresh_from_db()
    assert list(run.epoch_rows.values_list("epoch", flat=True)) == [1]
    assert (run.epoch, run.progress) == (1, 0.25)


def test_a_lost_run_is_not_an_ended_run(run: TrainingRun) -> None:
    record_progress(run_id=run.pk, events=[start()])
    TrainingRun.objects.update(heartbeat=timezone.now() - timedelta(minutes=5))
    run.refresh_from_db()
    assert run.is_lost
    record_progress(run_id=run.pk, events=[])
    run.refresh_from_db()
    assert not run.is_lost
    stop_training_run(run=run)
    TrainingRun.objects.update(heartbeat=timezone.now() - timedelta(minutes=5))
    run.refresh_from_db()
    assert (run.state, run.is_lost) == ("stopped", False)


def test_a_run_ends_with_a_version_or_with_a_reason(run: TrainingRun) -> None:
    complete_training_run(run=run, artifact=STARTER)
    version = ModelVersion.objects.get()
    assert (str(version), run.model_version, run.state) == ("chexnet-densenet121:1", version, "complete")
    assert run.finished is not None
    for state in ("failed", "complete"):
        with pytest.raises(IntegrityError), transaction.atomic():
            TrainingRun.objects.update(state=state, reason="", model_version=None)
    fail_training_run(run=run, reason=" ")
    assert run.reason == "No reason was given."


def test_a_damaged_artifact_is_no_version(run: TrainingRun, tmp_path: Path) -> None:
    folder = shutil.copytree(STARTER, tmp_path / "artifact", copy_function=shutil.copyfile)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(InvalidInputError):
        complete_training_run(run=run, artifact=folder)
    run.refresh_from_db()
    assert (run.state, ModelVersion.objects.count()) == ("waiting", 0)


def test_only_an_unfinished_run_of_the_same_settings_continues(run: TrainingRun, tmp_path: Path) -> None:
    assert find_unfinished(settings=SETTINGS | {"epochs": 5}) is None
    fail_training_run(run=run, reason="The disk is full.")
    found = find_unfinished(settings=SETTINGS)
    assert found == run
    resumed = resume_training_run(run=run, nodes="2:3")
    resumed.refresh_from_db()
    assert (resumed.state, resumed.reason, resumed.finished, resumed.nodes) == ("waiting", "", None, "2:3")
    TrainingRun.objects.update(folder=str(tmp_path / "of-another-machine"))
    assert find_unfinished(settings=SETTINGS) is None
    TrainingRun.objects.update(folder=str(tmp_path))
    complete_training_run(run=run, artifact=STARTER)
    assert find_unfinished(settings=SETTINGS) is None


@pytest.fixture
def administrator(db: None) -> Iterator[Any]:
    connection = psycopg2.connect(**admin_dsn())
    connection.autocommit = True
    with connection.cursor() as cursor:
        yield cursor
        cursor.execute(f"alter database {DATABASE} allow_connections true")
    connection.close()


def write(path: Path, *events: dict[str, Any], end: str = "\n") -> None:
    with path.open("a") as file:
        file.write("\n".join(json.dumps(event) for event in events) + end)


def until(true: Any) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_follower_catches_up_after_an_outage_of_the_database(
    run: TrainingRun, administrator: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setattr("apps.training.follower._WRITE_SECONDS", 0.05)
    monkeypatch.setattr("apps.training.follower._RETRY_SECONDS", 0.2)
    path = tmp_path / "progress.jsonl"
    with Follower(path, run.pk, io.StringIO()):
        write(path, start(), epoch(1))
        until(lambda: run.epoch_rows.count() == 1)
        administrator.execute(f"alter database {DATABASE} allow_connections false")
        administrator.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'chx_app'")
        write(path, step(2, 1), step(2, 2), epoch(2))
        until(lambda: "progress cannot be written to the database" in caplog.text)
        administrator.execute(f"alter database {DATABASE} allow_connections true")
        write(path, step(3, 7), end='\n{"event": "ep')
    connections.close_all()
    run.refresh_from_db()
    assert (run.epoch, run.step, run.epoch_rows.count()) == (3, 7, 2)


def test_registration_waits_while_the_database_restarts(
    run: TrainingRun, administrator: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apps.training.services._RETRY_SECONDS", 0.2)
    attempts = []

    def complete() -> TrainingRun:
        attempts.append(1)
        if len(attempts) == 3:
            administrator.execute(f"alter database {DATABASE} allow_connections true")
        return complete_training_run(run=run, artifact=STARTER)

    administrator.execute(f"alter database {DATABASE} allow_connections false")
    administrator.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'chx_app'")
    assert retry_during_outages(complete, STARTER).state == "complete"
    assert len(attempts) == 3


def test_a_long_outage_of_the_database_keeps_the_artifact(
    run: TrainingRun, administrator: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apps.training.services._OUTAGE_SECONDS", 0.2)
    monkeypatch.setattr("apps.training.services._RETRY_SECONDS", 0.1)
    administrator.execute(f"alter database {DATABASE} allow_connections false")
    administrator.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'chx_app'")
    with pytest.raises(UnavailableError, match=f"manage.py register_model {STARTER}"):
        retry_during_outages(lambda: complete_training_run(run=run, artifact=STARTER), STARTER)

"""`train_model` with real ranks: the version at the end, and the run's row."""

import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from apps.registry.models import ModelVersion
from apps.training.models import TrainingRun
from ml.training import progress
from tests.conftest import PROJECT_ROOT
from tests.evaluation.films import write_layout
from tests.ml import tiny

QUICK = {
    "arch": tiny.ARCHITECTURE, "epochs": 2, "batch_size": 16, "input_size": 64, "device": "cpu", "seed": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_layout(tmp_path_factory.mktemp("films"))


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads of a tiny network wait for each other longer than they work."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def train(data: Path, **options: Any) -> str:
    out = io.StringIO()
    call_command("train_model", f"--data={data}", stdout=out, **(QUICK | options))
    return out.getvalue()


def test_two_nodes_of_one_machine_make_a_candidate_and_a_fresh_run_another(db: None, films: Path) -> None:
    output = train(films, nnodes="2", name="small")

    assert "Registered small:1 as candidate." in output
    version = ModelVersion.objects.get()
    run = TrainingRun.objects.get()
    assert (run.state, run.model_version, run.epoch, run.world_size, run.backend) == ("complete", version, 2, 2, "gloo")
    assert (run.progress, run.remaining, run.is_lost) == (1.0, None, False)
    assert run.started is not None
    assert run.finished is not None
    rows = list(run.epoch_rows.all())
    assert [row.epoch for row in rows] == [1, 2]
    assert all(row.loss is not None and len(row.ranks) == 2 for row in rows)
    assert Path(run.folder).name == str(run.pk)

    train(films, epochs=1, name="small", fresh=True, seed=2)
    assert TrainingRun.objects.filter(state="complete").count() == 2
    assert [str(version) for version in ModelVersion.objects.all()] == ["small:2", "small:1"]


def events_of(run: TrainingRun) -> list[dict[str, Any]]:
    return progress.read(Path(run.folder) / progress.FILE)


def stop_after_an_epoch(run: TrainingRun, number: int) -> threading.Thread:
    """Another thread that sends this process the signal once the next start of the training has done an epoch."""
    before = [event["event"] for event in events_of(run)].count("start")

    def wait() -> None:
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            events = [event["event"] for event in events_of(run)]
            if events.count("start") > before and events[-1] == "epoch":
                break
            time.sleep(0.05)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_a_failed_training_says_why_and_leaves_no_version(db: None, films: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(films, tmp_path / "broken")
    victim = next(iter(sorted((broken / "images").iterdir())))
    victim.write_bytes(victim.read_bytes()[:60])
    with pytest.raises(CommandError, match=victim.name):
        train(broken)
    run = TrainingRun.objects.get()
    assert run.state == "failed"
    assert victim.name in run.reason
    assert not ModelVersion.objects.exists()


@pytest.mark.long
def test_a_command_that_is_killed_or_stopped_continues_as_the_same_run(db: None, films: Path) -> None:
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in (QUICK | {"epochs": 60}).items()]
    command = [sys.executable, "manage.py", "train_model", f"--data={films}", *arguments]
    killed = subprocess.Popen(command, cwd=PROJECT_ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 90
    while not TrainingRun.objects.filter(epoch__gte=1).exists():
        assert time.monotonic() < deadline
        assert killed.poll() is None
        time.sleep(0.2)
    with pytest.raises(CommandError, match="Another command trains in"):
        train(films, epochs=60)
    killed.kill()
    killed.wait()
    run = TrainingRun.objects.get()
    assert run.state == "running"
    TrainingRun.objects.update(heartbeat=timezone.now() - timedelta(minutes=2))
    run.refresh_from_db()
    assert run.is_lost

    done = []
    for number in (signal.SIGTERM, signal.SIGINT):
        # It would take a minute to its end: what matters here is where it goes on.
        done.append(max(event["epoch"] for event in events_of(run) if event["event"] == "epoch"))
        thread = stop_after_an_epoch(run, number)
        with pytest.raises(CommandError, match="continues after the last complete checkpoint"):
            train(films, epochs=60)
        thread.join()
        run = TrainingRun.objects.get()
        assert (run.state, run.model_version, run.is_lost) == ("stopped", None, False)
    first, *resumed = [each["resumed_epoch"] for each in events_of(run) if each["event"] == "start"]
    assert first == 0
    assert all(at >= epoch - 1 for at, epoch in zip(resumed, done, strict=True))
    assert list(run.epoch_rows.values_list("epoch", flat=True)) == list(range(1, run.epoch_rows.count() + 1))
    assert not ModelVersion.objects.exists()


@pytest.mark.long
def test_another_machines_chief_registers_the_version(
    db: None, films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One node of two, where the other machine hosts the rendezvous: here no row is written, and the work is done."""
    monkeypatch.setattr("apps.registry.engine.is_rendezvous_host", lambda nodes: False)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{probe.getsockname()[1]}"
    rendezvous = {"nnodes": "2", "rdzv_endpoint": endpoint, "rdzv_id": "two"}
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in (QUICK | rendezvous).items()]
    other = subprocess.Popen(
        [sys.executable, "-m", "ml.training", f"--data={films}", f"--out={tmp_path / 'other'}", *arguments],
        cwd=PROJECT_ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        output = train(films, **rendezvous, out=tmp_path / "here")
        assert other.wait(60) == 0
    finally:
        other.kill()
    assert "The chief's node registers the version" in output
    assert not TrainingRun.objects.exists()
    assert not ModelVersion.objects.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nnodes": "3:2"}, "the first number must not be the larger"),
        ({"init_weights": "absent.pth"}, "no such file"),
        ({"out": Path("/proc/nowhere")}, "choose another by --out"),
    ],
)
def test_a_training_that_cannot_start_leaves_no_run(
    db: None, films: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(CommandError, match=message):
        train(films, **options)
    assert not TrainingRun.objects.exists()

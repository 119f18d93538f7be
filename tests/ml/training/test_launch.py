"""Trainings as people start them, with whatever may happen to a process or a node meanwhile."""

import io
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ml.model.artifact import load_artifact
from ml.training.config import Recipe, TrainingConfig
from ml.training.launch import launch
from ml.training.members import TrainingFailed
from ml.training.nodes import Nodes
from ml.training.run import prepare, train
from ml.training.weights import initial_network
from ml.training.world import World
from tests.ml.training import cutting, layout
from tests.ml.training.conftest import Command
from tests.ml.training.rank_tasks import in_ranks

Start = Callable[..., Command]


def settings(data: Path, out: Path, epochs: int = 2) -> TrainingConfig:
    recipe = Recipe(epochs=epochs, batch_size=16, lr=0.03, train_size=64)
    return TrainingConfig(data, out, "test_efficientnet", input_size=64, device="cpu", recipe=recipe)


def uninterrupted(world: World, config: TrainingConfig) -> dict[int, tuple[float, float]]:
    """The curve of the same training when nothing happens to it."""
    import threading

    prepared = prepare(config)
    network = initial_network(config.architecture, None, 0)
    result = train(config, prepared, network, world, lambda *_, **__: None, threading.Event())
    return {int(line["epoch"]): (line["loss"], line["validation_auroc"]) for line in result.history}


def same(curve: dict[int, Any], wanted: dict[int, Any], tolerance: float = 1e-3) -> None:
    assert curve.keys() == wanted.keys()
    for epoch, (loss, score) in wanted.items():
        assert curve[epoch][0] == pytest.approx(loss, abs=tolerance), epoch
        assert curve[epoch][1] == pytest.approx(score, abs=0.02), epoch


def test_three_nodes_survive_the_loss_of_a_rank_and_of_an_agent(
    command: Start, films_folder: Path, tmp_path: Path
) -> None:
    run = command("--nnodes", "3", "--epochs", "14", "--silence-timeout", "4")
    run.until(lambda: len(run.events("epoch")) >= 3)
    os.kill(run.pids("ml.training.rank")[1], signal.SIGKILL)
    run.until(lambda: len(run.events("start")) == 2)
    before = len(run.events("epoch"))
    run.until(lambda: len(run.events("epoch")) >= before + 2)
    os.kill(run.pids("ml.training.agent")[-1], signal.SIGKILL)
    assert run.ended() == 0, run.text()
    starts = run.events("start")
    assert [(s["world_size"], s["nodes"], s["backend"]) for s in starts] == [(3, 3, "gloo")] * 3
    assert [s["restart"] for s in starts] == [0, 1, 2]
    assert starts[1]["resumed_epoch"] >= 3
    assert "this machine alone plays all 3 nodes" in run.text()
    (artifact,) = run.events("artifact")
    assert load_artifact(run.out / "artifact").sha256 == artifact["sha256"]
    assert "3 ranks on 3 nodes" in load_artifact(run.out / "artifact").manifest.card
    assert list((run.out / "tensorboard").iterdir())
    config = replace(settings(films_folder, tmp_path / "calm", 14), cache=run.out / "cache")
    same(run.curve(), in_ranks(3, tmp_path, uninterrupted, config)[0])


@pytest.fixture
def cut_within_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The third checkpoint of the next training is never written to its end: the file that says which it was."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(Path(cutting.__file__).read_text())
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.setenv(cutting.FOLDER_VARIABLE, str(tmp_path))
    return tmp_path / "cut"


def test_a_chief_that_dies_within_the_write_of_a_checkpoint(
    command: Start, cut_within_a_checkpoint: Path, films_folder: Path, tmp_path: Path
) -> None:
    run = command("--nnodes", "2", "--epochs", "8")
    assert run.ended() == 0, run.text()
    assert [(start["restart"], start["world_size"]) for start in run.events("start")] == [(0, 2), (1, 2)]
    assert run.events("start")[1]["resumed_epoch"] >= 1
    assert Path(cut_within_a_checkpoint.read_text()).parent == run.out / "checkpoints"
    assert not list((run.out / "checkpoints").glob(".films-*"))
    config = replace(settings(films_folder, tmp_path / "calm", 8), cache=run.out / "cache")
    same(run.curve(), in_ranks(2, tmp_path, uninterrupted, config)[0])


def test_a_machine_that_goes_out_within_the_write_of_a_checkpoint(
    command: Start, cut_within_a_checkpoint: Path, films_folder: Path, tmp_path: Path
) -> None:
    run = command("--epochs", "8", "--max-restarts", "0")

    def halves() -> list[Path]:
        files = (run.out / "checkpoints").glob(".films-*") if cut_within_a_checkpoint.exists() else []
        return [file for file in files if file.stat().st_size == cutting.KEPT_BYTES]

    run.until(lambda: halves() or run.process.poll() is not None)
    run.kill_everything()
    (half,) = halves()
    assert not (run.out / "artifact").exists()
    again = command("--epochs", "8")
    assert again.ended() == 0, again.text()
    assert again.events("start")[-1]["resumed_epoch"] >= 1
    assert not half.exists()
    config = replace(settings(films_folder, tmp_path / "calm", 8), cache=run.out / "cache")
    import torch

    same(again.curve(), uninterrupted(World(torch.device("cpu")), config))


def test_checkpoints_that_were_cut_off_are_passed_over_after_everything_was_killed(
    command: Start, films_folder: Path, tmp_path: Path
) -> None:
    run = command("--epochs", "30")
    run.until(lambda: len(run.events("epoch")) >= 2)
    run.kill_everything()
    assert not (run.out / "artifact").exists()
    newest = max((run.out / "checkpoints").glob("films-*"))
    # What a write leaves that was cut off before, and after, the file had its name.
    newest.with_name(f".{newest.name}.1").write_bytes(newest.read_bytes()[:-7])
    newest.write_bytes(newest.read_bytes()[:-7])
    before = len(run.events("epoch"))
    stopped = command("--epochs", "30")
    stopped.until(lambda: len(stopped.events("epoch")) >= before + 2)
    stopped.process.terminate()
    assert stopped.ended() == 128 + signal.SIGTERM
    again = command("--epochs", "30")
    assert again.ended() == 0, again.text()
    assert all(start["resumed_epoch"] >= 1 for start in again.events("start")[1:])
    assert load_artifact(again.out / "artifact").manifest.metrics["selected_epoch"] >= 1
    assert not list((run.out / "checkpoints").glob(".films-*"))
    config = replace(settings(films_folder, tmp_path / "calm", 30), cache=run.out / "cache")
    import torch

    same(again.curve(), uninterrupted(World(torch.device("cpu")), config))


def test_other_films_on_one_node_stop_both(command: Start, tmp_path: Path) -> None:
    other = layout.make(tmp_path / "other", seed=1)
    port = free_port()
    options = ("--nnodes", "2", "--rdzv-endpoint", f"127.0.0.1:{port}", "--epochs", "2", "--join-timeout", "60")
    first, second = command(*options), command(*options, out="second", data=other)
    assert (first.ended(), second.ended()) == (1, 1)
    for run in (first, second):
        assert f"on {socket.gethostname()} has another data set" in run.text()
    (failed,) = [*first.events("failed"), *second.events("failed")]
    assert "another data set" in failed["reason"]


def test_a_node_whose_films_are_missing_stops_both(command: Start, tmp_path: Path, films_folder: Path) -> None:
    port = free_port()
    options = ("--nnodes", "2", "--rdzv-endpoint", f"127.0.0.1:{port}", "--epochs", "2", "--join-timeout", "60")
    (tmp_path / "empty").mkdir()
    first, second = command(*options), command(*options, out="second", data=tmp_path / "empty")
    assert (first.ended(), second.ended()) == (1, 1)
    for run in (first, second):
        assert "Put the NIH table" in run.text()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def endpoint(port: int) -> Nodes:
    return replace(Nodes.parse("2", rdzv_endpoint=f"127.0.0.1:{port}", join_timeout=2, device="cpu"), silence_timeout=3)


def test_a_port_that_is_taken(films_folder: Path, tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(TrainingFailed, match="taken by another program"):
            launch(settings(films_folder, tmp_path / "out"), endpoint(other.getsockname()[1]), out=io.StringIO())


def test_nobody_else_comes(films_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingFailed, match="did not meet"):
        launch(settings(films_folder, tmp_path / "out"), endpoint(free_port()), out=io.StringIO())


def test_a_host_that_does_not_exist(films_folder: Path, tmp_path: Path) -> None:
    nodes = Nodes.parse("2", rdzv_endpoint="nowhere.invalid:29400", join_timeout=1, device="cpu")
    with pytest.raises(TrainingFailed, match="unknown here"):
        launch(settings(films_folder, tmp_path / "out"), replace(nodes, silence_timeout=3), out=io.StringIO())


def test_what_a_rank_finds_wrong_is_the_reason(films_folder: Path, tmp_path: Path) -> None:
    config = settings(films_folder, tmp_path / "out")
    wrong = replace(config, recipe=replace(config.recipe, batch_size=4000))
    start = time.monotonic()
    with pytest.raises(TrainingFailed, match="fewer than one batch of 4000") as told:
        launch(wrong, Nodes(), out=io.StringIO())
    assert told.value.reason == str(told.value)
    assert time.monotonic() - start < 60
    assert not (tmp_path / "out" / "artifact").exists()


def test_a_folder_that_can_not_be_written(films_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingFailed, match="can't be written"):
        launch(settings(films_folder, tmp_path / "file" / "out"), Nodes(), out=io.StringIO())


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    """A real file system of 300 kB, in a mount namespace of its own."""
    script = """
import sys, torch
from pathlib import Path
from ml.training.checkpoint import CheckpointFailed, Checkpoints
kept = Checkpoints(Path(sys.argv[1]) / "checkpoints", "a")
kept.save(1, {"x": torch.zeros(30_000)})
try:
    kept.save(2, {"x": torch.zeros(60_000)})
except CheckpointFailed as error:
    print(error)
print(kept.newest().images_seen, len(list(kept.directory.iterdir())))
"""
    import sys

    shell = f'mount -t tmpfs -o size=300k none {tmp_path} && exec "$0" -c "$1" {tmp_path}'
    namespaces = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-Urm"]
    if subprocess.run([*namespaces, "mount", "-t", "tmpfs", "none", tmp_path], capture_output=True).returncode:
        pytest.skip("This system allows no mount namespaces.")
    done = subprocess.run(
        [*namespaces, "sh", "-c", shell, sys.executable, script], capture_output=True, text=True, timeout=60
    )
    assert "The disk is full" in done.stdout, done.stderr
    assert done.stdout.splitlines()[-1] == "1 1"

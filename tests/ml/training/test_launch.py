"""Trainings as people start them, while ranks, agents and machines are lost."""

import io
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ml.model.artifact import load_artifact
from ml.training.addresses import free_port
from ml.training.config import TrainingConfig, with_recipe
from ml.training.launch import launch
from ml.training.nodes import Nodes
from ml.training.processes import TrainingFailed
from ml.training.run import prepare, train
from ml.training.weights import initial_network
from ml.training.world import World
from tests.ml.training import cutting, layout
from tests.ml.training.conftest import Command
from tests.ml.training.rank_tasks import in_ranks

Start = Callable[..., Command]


def settings(data: Path, out: Path, epochs: int = 2) -> TrainingConfig:
    recipe = with_recipe("r1", epochs=epochs, batch_size=16, lr=0.03, train_size=64).recipe
    return TrainingConfig(data, out, "test_efficientnet", input_size=64, device="cpu", recipe=recipe)


def uninterrupted(world: World, config: TrainingConfig) -> dict[int, tuple[float, float]]:
    """The curve of the same training when nothing happens to it."""
    prepared = prepare(config)
    network = initial_network(config.architecture, None, 0)
    result = train(config, prepared, network, world, lambda *_, **__: None, threading.Event())
    return {int(line["epoch"]): (line["loss"], line["validation_auroc"]) for line in result.history}


def assert_same_curve(curve: dict[int, Any], wanted: dict[int, Any], tolerance: float = 1e-3) -> None:
    assert curve.keys() == wanted.keys()
    for epoch, (loss, score) in wanted.items():
        assert curve[epoch][0] == pytest.approx(loss, abs=tolerance), epoch
        assert curve[epoch][1] == pytest.approx(score, abs=0.02), epoch


@pytest.fixture
def cut_within_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The third checkpoint of the next training is never written to its end: the file that says which it was."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(Path(cutting.__file__).read_text())
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.setenv(cutting.FOLDER_VARIABLE, str(tmp_path))
    return tmp_path / "cut"


def test_three_nodes_survive_the_loss_of_a_rank_within_a_checkpoint_and_of_an_agent(
    command: Start, cut_within_a_checkpoint: Path, data_folder: Path, tmp_path: Path
) -> None:
    run = command("--nnodes", "3", "--epochs", "6", "--silence-timeout", "3")
    run.until(lambda: len(run.events("start")) == 2)
    os.kill(run.agents()[-1], signal.SIGKILL)
    assert run.ended() == 0, run.text()
    starts = run.events("start")
    assert [(s["world_size"], s["nodes"], s["backend"]) for s in starts] == [(3, 3, "gloo")] * 3
    assert [s["restart"] for s in starts] == [0, 1, 2]
    assert starts[1]["resumed_epoch"] == 2
    assert Path(cut_within_a_checkpoint.read_text()).parent == run.out / "checkpoints"
    assert not list((run.out / "checkpoints").glob(".films-*"))
    assert "this machine alone runs all 3 nodes" in run.text()
    (artifact,) = run.events("artifact")
    assert load_artifact(run.out / "artifact").sha256 == artifact["sha256"]
    assert "3 ranks on 3 nodes" in load_artifact(run.out / "artifact").manifest.card
    assert list((run.out / "tensorboard").iterdir())
    config = replace(settings(data_folder, tmp_path / "calm", 6), cache=run.out / "cache")
    assert_same_curve(run.curve(), in_ranks(3, tmp_path, uninterrupted, config)[0])


@pytest.mark.long
def test_a_checkpoint_that_was_cut_off_is_passed_over_after_everything_was_killed(
    command: Start, cut_within_a_checkpoint: Path, data_folder: Path, tmp_path: Path
) -> None:
    """The machine goes out within a write, and the file before is damaged."""
    run = command("--epochs", "5", "--max-restarts", "0")

    def halves() -> list[Path]:
        files = (run.out / "checkpoints").glob(".films-*") if cut_within_a_checkpoint.exists() else []
        return [file for file in files if file.stat().st_size == cutting.KEPT_BYTES]

    run.until(lambda: halves() or run.process.poll() is not None)
    run.kill_everything()
    (half,) = halves()
    assert not (run.out / "artifact").exists()
    newest = max((run.out / "checkpoints").glob("films-*"))
    newest.write_bytes(newest.read_bytes()[:-7])
    again = command("--epochs", "5")
    assert again.ended() == 0, again.text()
    assert [start["resumed_epoch"] for start in again.events("start")] == [0, 1]
    assert load_artifact(again.out / "artifact").manifest.metrics["selected_epoch"] >= 1
    assert not half.exists()
    config = replace(settings(data_folder, tmp_path / "calm", 5), cache=run.out / "cache")
    assert_same_curve(again.curve(), uninterrupted(World(torch.device("cpu")), config))


@pytest.mark.long
def test_a_node_joins_an_elastic_training_and_leaves_and_one_with_other_data_ends_it(
    command: Start, tmp_path: Path
) -> None:
    port = free_port()
    options = ("--nnodes", "2:3", "--epochs", "1000", "--silence-timeout", "3", "--rdzv-endpoint")
    chief = command(*options, f"127.0.0.1:{port}")
    # torch numbers nodes by address, so this machine's other address is never the chief's.
    options = (*options, f"127.0.0.2:{port}")
    second = command(*options, out="second")
    chief.until(lambda: chief.events("epoch"))
    third = command(*options, out="third")
    chief.until(lambda: len(chief.events("start")) == 2 and chief.events("epoch")[-1]["ranks"][2:])
    third.process.terminate()
    assert third.ended() == 128 + signal.SIGTERM
    chief.until(lambda: len(chief.events("start")) == 3 and not chief.events("epoch")[-1]["ranks"][2:])
    starts = chief.events("start")
    assert [start["world_size"] for start in starts] == [2, 3, 2]
    assert 0 < starts[1]["resumed_epoch"] < starts[2]["resumed_epoch"]
    other = command(*options, out="other", data=layout.make(tmp_path / "data", seed=1))
    runs = (chief, second, other)
    assert [run.ended() for run in runs] == [1, 1, 1], [run.text() for run in runs]
    for run in runs:
        assert f"on {socket.gethostname()} has another data set" in run.text()
    (failed,) = [failed for run in (*runs, third) for failed in run.events("failed")]
    assert "another data set" in failed["reason"]


def endpoint_nodes(endpoint: str, join_timeout: float = 2) -> Nodes:
    return Nodes.parse("2", rdzv_endpoint=endpoint, join_timeout=join_timeout, silence_timeout=3, device="cpu")


def test_a_port_that_is_taken(data_folder: Path, tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        nodes = endpoint_nodes(f"127.0.0.1:{other.getsockname()[1]}")
        with pytest.raises(TrainingFailed, match="taken by another program"):
            launch(settings(data_folder, tmp_path / "out"), nodes, out=io.StringIO())


def test_nodes_that_never_come(data_folder: Path, tmp_path: Path) -> None:
    nodes = endpoint_nodes(f"127.0.0.1:{free_port()}")
    with pytest.raises(TrainingFailed, match=r"did not meet at 127.0.0.1:\d+ within 2 s.*own address on every machine"):
        launch(settings(data_folder, tmp_path / "out"), nodes, out=io.StringIO())


def test_a_host_that_does_not_exist(data_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingFailed, match="unknown here"):
        launch(settings(data_folder, tmp_path / "out"), endpoint_nodes("nowhere.invalid", 1), out=io.StringIO())


def test_a_folder_that_can_not_be_written(data_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingFailed, match="can't be written"):
        launch(settings(data_folder, tmp_path / "file" / "out"), Nodes(), out=io.StringIO())


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
    shell = f'mount -t tmpfs -o size=300k none {tmp_path} && exec "$0" -c "$1" {tmp_path}'
    namespaces = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-Urm"]
    if subprocess.run([*namespaces, "mount", "-t", "tmpfs", "none", tmp_path], capture_output=True).returncode:
        pytest.skip("This system allows no mount namespaces.")
    done = subprocess.run(
        [*namespaces, "sh", "-c", shell, sys.executable, script], capture_output=True, text=True, timeout=60
    )
    assert "The disk is full" in done.stdout, done.stderr
    assert done.stdout.splitlines()[-1] == "1 1"
